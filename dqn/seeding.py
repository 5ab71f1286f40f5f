"""One seed for a run, independent streams for its parts."""

import random
from typing import NamedTuple

import numpy as np
import torch


class Seeds(NamedTuple):
    """Seeds of a run's generators, each below 2**31 (what ALE accepts).

    Later evaluations draw from seeds of their own: a run that was stopped at its best evaluation
    would meet again the very games it was chosen by.
    """

    network: int
    exploration: int
    replay: int
    environment: int
    evaluation_environment: int
    evaluation_exploration: int
    reevaluation_environment: int
    reevaluation_exploration: int


def derive_seeds(seed: int) -> Seeds:
    """Independent seeds for the parts of a run, so that one part's draws never shift another's.

    >>> derive_seeds(1) == derive_seeds(1), derive_seeds(1).replay == derive_seeds(2).replay
    (True, False)
    """
    words = np.random.SeedSequence(seed).generate_state(len(Seeds._fields))
    return Seeds(*(int(word) % 2**31 for word in words))


def environment_seed(seed: int, agent_steps: int) -> int:
    """Seed for environments that start at ``agent_steps``: a resumed run plays new games."""
    if agent_steps == 0:
        return seed
    return int(np.random.SeedSequence([seed, agent_steps]).generate_state(1)[0]) % 2**31


def seed_everything(seed: int) -> None:
    """Seed the global generators too; network initialisation draws from PyTorch's."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
