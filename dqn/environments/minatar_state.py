"""State of a MinAtar game and of its random generator, as checkpoints hold it.

The package has no snapshot of a game. A game is a plain object, so its attributes are saved: as
tensors and Python's own values, which ``torch.load(weights_only=True)`` reads.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch

# These attributes say what a game is made of. They are equal in every copy and never change.
_CONSTANT_ATTRIBUTES = frozenset({"random", "channels", "action_map"})


def game_state(game: Any) -> dict[str, object]:
    """Where a game stands, without its random generator; ``load_game_state`` reads it."""
    return {
        name: _to_plain(value)
        for name, value in vars(game).items()
        if name not in _CONSTANT_ATTRIBUTES
    }


def load_game_state(game: Any, state: Mapping[str, object]) -> None:
    """Bring a game to where ``state`` was taken."""
    vars(game).update({name: _from_plain(value) for name, value in state.items()})


def random_state(random: np.random.RandomState) -> dict[str, object]:
    """Where a random generator stands; ``load_random_state`` reads it."""
    name, key, position, has_gauss, cached = random.get_state(legacy=True)
    # PyTorch lacks many operations on uint32, and int64 holds the same numbers.
    key_tensor = torch.from_numpy(np.asarray(key).astype(np.int64))
    return {
        "name": str(name),
        "key": key_tensor,
        "position": int(position),
        "has_gauss": int(has_gauss),
        "cached_gaussian": float(cached),
    }


def load_random_state(random: np.random.RandomState, state: Mapping[str, object]) -> None:
    """Bring a random generator to where ``state`` was taken."""
    key = cast(torch.Tensor, state["key"]).numpy().astype(np.uint32)
    random.set_state(
        (
            str(state["name"]),
            key,
            cast(int, state["position"]),
            cast(int, state["has_gauss"]),
            cast(float, state["cached_gaussian"]),
        )
    )


def _to_plain(value: object) -> object:
    """A game's attribute without NumPy: arrays as tensors, scalars as Python's, lists as copies."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list):
        return [_to_plain(item) for item in value]
    return value


def _from_plain(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.numpy().copy()
    if isinstance(value, list):
        return [_from_plain(item) for item in value]
    return value
