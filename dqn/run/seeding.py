"""One seed for a run, independent streams for its parts."""

import random
from typing import NamedTuple, TypedDict, cast

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


def seed_everything(seed: int) -> None:
    """Seed the global generators too; network initialisation draws from PyTorch's."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class GeneratorState(TypedDict):
    """The global generators, as ``torch.load(weights_only=True)`` reads them."""

    python: tuple[object, ...]
    numpy: dict[str, object]
    torch: torch.Tensor
    cuda: list[torch.Tensor]


def generator_state() -> GeneratorState:
    """Where Python's, NumPy's and PyTorch's global generators stand."""
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    key = torch.from_numpy(numpy_state["state"]["key"].copy())
    return {
        "python": random.getstate(),
        "numpy": numpy_state | {"state": numpy_state["state"] | {"key": key}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def load_generator_state(state: GeneratorState) -> None:
    """Put the global generators where ``generator_state`` found them."""
    random.setstate(state["python"])
    inner = cast(dict[str, object], state["numpy"]["state"])
    key = cast(torch.Tensor, inner["key"]).numpy()
    np.random.set_state(state["numpy"] | {"state": inner | {"key": key}})
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
