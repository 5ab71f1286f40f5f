"""Seeds: the same ones from the same number, others from another."""

import random
from itertools import product

import numpy as np
import torch

from dqn.seeding import Seeds, derive_seeds, environment_seed, seed_everything


def test_parts_of_neighbouring_runs_share_no_seed():
    seeds = [value for seed in range(500) for value in derive_seeds(seed)]
    assert len(set(seeds)) == 500 * len(Seeds._fields)
    assert min(seeds) >= 0
    assert max(seeds) < 2**31, "ALE keeps seeds in a C int"


def test_derived_seeds_never_change():
    """A published result is repeated from its seed alone: these values are NumPy's, not ours."""
    assert derive_seeds(1) == tuple(
        int(word) % 2**31 for word in np.random.SeedSequence(1).generate_state(8)
    )


def test_resumed_run_plays_other_games_than_the_first():
    assert environment_seed(42, 0) == 42
    seeds = {environment_seed(seed, steps) for seed, steps in product((1, 2), range(0, 500, 10))}
    assert len(seeds) == 100
    assert environment_seed(42, 1000) == environment_seed(42, 1000)


def test_global_generators_repeat():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert all(a != b for a, b in zip(first, draw(), strict=True))
