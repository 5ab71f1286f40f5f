"""Gymnasium's classic control tasks behind the interface of the Atari games."""

import re
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dqn.environments.action_log import ActionLog, check_arrived
from dqn.environments.base import StepResult, VectorEnvironment
from dqn.environments.rendering import RgbArray
from dqn.names import nearest
from dqn.types import BoolArray, IntArray, ObservationArray, TimeStep


class ControlEnvironment(VectorEnvironment):
    """``num_envs`` copies of a Gymnasium task with a vector state and discrete actions.

    An observation is the task's state, one frame without a stack. A task's own time limit
    truncates the episode: it is last without being terminal.

    Args:
        game: a Gymnasium id such as ``"CartPole-v1"``, ``"Acrobot-v1"`` or ``"MountainCar-v0"``.
        num_envs: number of copies, stepped one after the other in this process.
        seed: copy ``i`` draws its starts from ``seed + i``, and after some ten thousand steps from
            a hash of it (``action_log``).
        render_mode: ``"rgb_array"`` to see the task through ``render``; one copy only.

    Raises:
        ValueError: for an unknown id, for a task with other spaces, or an argument out of range.
        ImportError: when the task needs a package that is not installed, naming it.

    >>> environment = ControlEnvironment("CartPole-v1", num_envs=2, seed=0)
    >>> time_step = environment.reset()
    >>> time_step.observation_t.shape, environment.num_actions
    ((2, 4), 2)
    >>> environment.close()
    """

    def __init__(
        self,
        game: str,
        *,
        num_envs: int,
        seed: int,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(game, num_envs=num_envs, seed=seed, render_mode=render_mode)
        _check_id(game)
        make = partial(gymnasium.make, game, render_mode=render_mode)
        try:
            self._vector_env = SyncVectorEnv(
                [make] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP
            )
        except gymnasium.error.DependencyNotInstalled as error:
            raise ImportError(f"env.id={game!r}: {error}") from error
        self._observation_space, self._action_space = _check_spaces(game, self._vector_env)
        self._log = ActionLog(num_envs=num_envs, seed=seed)

    @property
    def num_actions(self) -> int:
        """Actions the agent chooses from, ``0..num_actions - 1``."""
        return int(self._action_space.n)

    @property
    def action_meanings(self) -> tuple[str, ...]:
        """Gymnasium does not name these actions: their numbers."""
        return tuple(str(action) for action in range(self.num_actions))

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame: the whole observation."""
        return self._observation_space.shape

    @property
    def observation_dtype(self) -> np.dtype[np.float32]:
        """The task's own units."""
        return np.dtype(np.float32)

    def _open_games(self) -> ObservationArray:
        observation_t: ObservationArray = self._vector_env.reset(seed=self._seed)[0]
        self._log.reset()
        return observation_t

    def _finish(self, actions: IntArray, is_first_t: BoolArray) -> StepResult:
        observation_t, reward, terminated, truncated, _ = self._vector_env.step(actions)
        self._log.record(actions)
        is_seeded = self._log.seed_anew(is_first_t)
        if is_seeded.any():
            observation_t = self._reset_some(is_seeded, self._log.seeds()[is_seeded])
        return StepResult(
            observation_t=observation_t,
            reward_t=reward.astype(np.float32),
            is_terminal_t=terminated,
            is_last_t=terminated | truncated,
        )

    def _save(self) -> dict[str, Any]:
        # Gymnasium cannot copy its tasks, so seeds and actions are saved, which lead to them again.
        return {"log": self._log.state_dict()}

    def _restore(self, state: dict[str, Any], time_step: TimeStep) -> None:
        """Play the episodes up to where they stood."""
        self._log.load_state_dict(state["log"])
        observation_t = self._log.replay(
            reset=self._reset_some, step=lambda actions: self._vector_env.step(actions)[0]
        )
        check_arrived(observation_t, time_step)

    def _reset_some(self, mask: BoolArray, seeds: IntArray) -> ObservationArray:
        """Open episodes from seeds, and say where all episodes stand."""
        seed_of_env: list[int | None] = [None] * self.num_envs
        for env, seed in zip(np.flatnonzero(mask), seeds, strict=True):
            seed_of_env[env] = int(seed)
        reset = self._vector_env.reset(seed=seed_of_env, options={"reset_mask": mask})
        observation_t: ObservationArray = reset[0]
        return observation_t

    def _picture(self) -> RgbArray:
        try:
            pictures = self._vector_env.render()
        except gymnasium.error.DependencyNotInstalled as error:
            raise ImportError(
                f"pictures of {self._game} need pygame: pip install 'rmsprop-dqn[video]'"
            ) from error
        picture: RgbArray = np.asarray(pictures, dtype=np.uint8)[0]
        return picture

    def close(self) -> None:
        """Release the tasks; stepping afterwards is an error."""
        self._vector_env.close()


def check_control_task(task_id: str | None, *, name: str) -> None:
    """Refuse a Gymnasium id that is missing, unknown, or not the task that ``name`` says.

    >>> check_control_task("MountainCar-v0", name="mountain_car")
    >>> check_control_task("CartPole-v1", name="pong")
    Traceback (most recent call last):
    ValueError: env.game=pong: must be the name of env.id=CartPole-v1, as mountain_car is of \
MountainCar-v0; games of Atari need env=atari

    Raises:
        ValueError: otherwise, naming the nearest id.
    """
    if task_id is None:
        raise ValueError("env.id=null: must be a Gymnasium id such as CartPole-v1")
    task = re.sub(r"^.*/|-v\d+$", "", task_id)
    if name.replace("_", "").lower() != task.replace("_", "").lower():
        raise ValueError(
            f"env.game={name}: must be the name of env.id={task_id}, as mountain_car is of "
            "MountainCar-v0; games of Atari need env=atari"
        )
    _check_id(task_id)


def _check_id(game: str) -> None:
    if game not in gymnasium.registry:
        hint = nearest(game, gymnasium.registry)
        raise ValueError(f"env.id={game!r}: Gymnasium knows no such task{hint}")


def _check_spaces(game: str, vector_env: SyncVectorEnv) -> tuple[Box, Discrete]:
    observations, actions = vector_env.single_observation_space, vector_env.single_action_space
    if (
        isinstance(observations, Box)
        and observations.dtype == np.float32
        and isinstance(actions, Discrete)
        and actions.start == 0
    ):
        return observations, actions
    raise ValueError(
        f"env.id={game!r} has observations {observations} and actions {actions}; "
        "float32 boxes and actions 0..n-1 are needed"
    )
