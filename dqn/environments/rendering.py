"""Colour pictures of a game in progress."""

import numpy as np
import numpy.typing as npt
from ale_py.vector_env import AtariVectorEnv

from dqn.types import BoolArray, IntArray

RgbArray = npt.NDArray[np.uint8]  # [height, width, 3]


def check_render_mode(render_mode: str | None, *, num_envs: int) -> None:
    """Require no rendering, or ``"rgb_array"`` of a single environment.

    Raises:
        ValueError: otherwise.
    """
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode={render_mode!r} must be None or 'rgb_array'")
    if render_mode is not None and num_envs != 1:
        raise ValueError(f"render_mode={render_mode!r} needs num_envs=1, got num_envs={num_envs}")


class AtariRenderer:
    """A second emulator that plays the same game from the same seed, in colour.

    ALE's vector environment gives either grey or coloured pixels, and cannot render. Given the
    same seed and actions two of them play the same game, which is checked at every step.

    Args:
        vector_env: one copy of the agent's game with the same settings, except that its
            observations are single coloured frames.
    """

    def __init__(self, vector_env: AtariVectorEnv) -> None:
        self._vector_env = vector_env
        self._frame: RgbArray | None = None

    def reset(self, seed: int) -> None:
        """Start the game the agent's environment starts from ``seed``."""
        observation, _ = self._vector_env.reset(seed=seed)
        self._frame = observation[0, 0]

    def step(
        self,
        actions: IntArray,
        reward: npt.NDArray[np.int32],
        terminated: BoolArray,
        truncated: BoolArray,
    ) -> None:
        """Follow one step, and check that the game answered as the agent's did.

        Raises:
            RuntimeError: when the two games have parted.
        """
        observation, *outcome, _ = self._vector_env.step(actions)
        if not all(map(np.array_equal, outcome, (reward, terminated, truncated))):
            raise RuntimeError("the rendered game has parted from the agent's game")
        self._frame = observation[0, 0]

    def frame(self) -> RgbArray:
        """The current screen, ``[height, width, 3]`` uint8.

        Raises:
            ValueError: before the first reset.
        """
        if self._frame is None:
            raise ValueError("render() needs a game in progress: call reset() first")
        return self._frame

    def close(self) -> None:
        """Stop the emulator's threads."""
        close_vector_env(self._vector_env)


def close_vector_env(vector_env: AtariVectorEnv) -> None:
    """Stop the threads of ALE's vector environment, which its own ``close`` leaves running."""
    if not vector_env.closed:
        vector_env.close()
        del vector_env.ale  # The threads end with the C++ object, which nothing else refers to.
