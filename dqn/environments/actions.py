"""Refusal of actions no environment can carry out."""

import numpy as np

from dqn.types import IntArray


def check_actions(actions: IntArray, *, num_envs: int, num_actions: int) -> None:
    """Require ``[num_envs]`` int64 actions in ``0..num_actions - 1``.

    An emulator thread that meets a bad action reports it only after the others have stepped, so
    it is refused before any of them moves.

    Raises:
        ValueError: when shape, dtype or range is wrong.
    """
    if actions.shape != (num_envs,) or actions.dtype != np.int64:
        raise ValueError(
            f"actions must be int64 of shape ({num_envs},), got {actions.dtype} of shape "
            f"{actions.shape}"
        )
    if actions.min() < 0 or actions.max() >= num_actions:
        raise ValueError(f"actions must be in 0..{num_actions - 1}, got {actions.tolist()}")
