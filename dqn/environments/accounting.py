"""Scores of whole games, counted where the rewards are still raw."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch

from dqn.types import BoolArray, FloatArray, IntArray, ObservationArray, TimeStep


class AccountingState(TypedDict):
    """What ``EpisodeAccounting.state_dict`` returns."""

    episode_return: torch.Tensor
    episode_length: torch.Tensor


class EpisodeAccounting:
    """Undiscounted return and number of agent steps of each environment's current game.

    Sums are float64, so that integer scores stay exact.

    Args:
        num_envs: environments that step together.
    """

    def __init__(self, num_envs: int) -> None:
        self._return: npt.NDArray[np.float64] = np.zeros(num_envs, dtype=np.float64)
        self._length: IntArray = np.zeros(num_envs, dtype=np.int64)

    @property
    def length(self) -> IntArray:
        """``[num_envs]`` agent steps of each current game so far."""
        return self._length

    def reset(self) -> None:
        """All environments start a game."""
        self._return[:] = 0.0
        self._length[:] = 0

    def update(
        self, *, reward_t: FloatArray, is_first_t: BoolArray, is_last_t: BoolArray
    ) -> tuple[FloatArray, IntArray]:
        """Count one step; the step that opens a game is no agent step and counts nothing.

        Args:
            reward_t: ``[num_envs]`` raw rewards.
            is_first_t: ``[num_envs]``, a new game was opened by this step.
            is_last_t: ``[num_envs]``, the game ended with this step.

        Returns:
            ``episode_return_t`` ``[num_envs]`` float32, NaN where no game ended, and
            ``episode_length_t`` ``[num_envs]`` int64, 0 where no game ended.
        """
        self._return = np.where(is_first_t, 0.0, self._return + reward_t)
        self._length = np.where(is_first_t, 0, self._length + 1)
        episode_return_t = np.where(is_last_t, self._return, np.nan).astype(np.float32)
        episode_length_t = np.where(is_last_t, self._length, 0)
        return episode_return_t, episode_length_t

    def state_dict(self) -> AccountingState:
        """The sums of the games in progress."""
        return {
            "episode_return": torch.from_numpy(self._return.copy()),
            "episode_length": torch.from_numpy(self._length.copy()),
        }

    def load_state_dict(self, state: AccountingState) -> None:
        """Take over the sums of ``state``."""
        self._return = state["episode_return"].numpy().copy()
        self._length = state["episode_length"].numpy().copy()


def opening_time_step(observation_t: ObservationArray) -> TimeStep:
    """The time step of a reset: every environment opens a game, and no reward has come yet."""
    num_envs = len(observation_t)
    return TimeStep(
        observation_t=observation_t,
        reward_t=np.zeros(num_envs, dtype=np.float32),
        is_first_t=np.ones(num_envs, dtype=np.bool_),
        is_terminal_t=np.zeros(num_envs, dtype=np.bool_),
        is_last_t=np.zeros(num_envs, dtype=np.bool_),
        episode_return_t=np.full(num_envs, np.nan, dtype=np.float32),
        episode_length_t=np.zeros(num_envs, dtype=np.int64),
    )
