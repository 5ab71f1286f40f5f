"""Gymnasium's classic control tasks behind the interface of the Atari games."""

import difflib
from functools import partial
from typing import TypedDict

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dqn.environments.accounting import AccountingState, EpisodeAccounting, opening_time_step
from dqn.environments.action_log import MAX_SEED, ActionLog, ActionLogState, check_arrived
from dqn.environments.actions import check_actions
from dqn.environments.rendering import RgbArray, check_render_mode
from dqn.types import BoolArray, IntArray, ObservationArray, TimeStep


class ControlState(TypedDict):
    """What ``ControlEnvironment.state_dict`` returns."""

    game: str
    log: ActionLogState
    accounting: AccountingState
    time_step: dict[str, torch.Tensor]


class ControlEnvironment:
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
        if num_envs < 1:
            raise ValueError(f"env.num_envs={num_envs} must be at least 1")
        if not 0 <= seed <= MAX_SEED - num_envs:
            raise ValueError(f"seed={seed} must be in 0..{MAX_SEED - num_envs}")
        check_render_mode(render_mode, num_envs=num_envs)
        _check_id(game)
        self._game = game
        self._seed = seed
        self._render_mode = render_mode
        make = partial(gymnasium.make, game, render_mode=render_mode)
        try:
            self._vector_env = SyncVectorEnv(
                [make] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP
            )
        except gymnasium.error.DependencyNotInstalled as error:
            raise ImportError(f"env.id={game!r}: {error}") from error
        self._observation_space, self._action_space = _check_spaces(game, self._vector_env)
        self._log = ActionLog(num_envs=num_envs, seed=seed)
        self._accounting = EpisodeAccounting(num_envs)
        self._is_last_tm1: BoolArray = np.zeros(num_envs, dtype=np.bool_)
        self._actions_tm1: IntArray | None = None  # of a step that is under way
        self._time_step: TimeStep | None = None

    @property
    def game(self) -> str:
        """Gymnasium's id of the task."""
        return self._game

    @property
    def num_envs(self) -> int:
        """Copies that step together."""
        return self._vector_env.num_envs

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
    def stack_size(self) -> int:
        """Observations are not stacked."""
        return 1

    @property
    def frame_skip(self) -> int:
        """One agent step is one step of the task."""
        return 1

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one copy's observation."""
        return self.frame_shape

    @property
    def observation_dtype(self) -> np.dtype[np.float32]:
        """The task's own units."""
        return np.dtype(np.float32)

    def reset(self) -> TimeStep:
        """Start anew from the seed: the same actions lead to the same episodes every time."""
        self._actions_tm1 = None
        observation_t, _ = self._vector_env.reset(seed=self._seed)
        self._log.reset()
        self._accounting.reset()
        self._is_last_tm1 = np.zeros(self.num_envs, dtype=np.bool_)
        self._time_step = opening_time_step(observation_t)
        return self._time_step

    def step(self, actions: IntArray) -> TimeStep:
        """Carry out one action in each copy: ``step_async``, then ``step_wait``.

        Args:
            actions: ``[num_envs]`` int64 in ``0..num_actions - 1``; ignored where an episode
                starts.

        Raises:
            ValueError: for actions of another shape or dtype, or out of range.
        """
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: IntArray) -> None:
        """Remember the actions for ``step_wait``: these tasks take no time worth sharing.

        Raises:
            ValueError: as ``step`` does.
            RuntimeError: an earlier step has not been waited for.
        """
        check_actions(actions, num_envs=self.num_envs, num_actions=self.num_actions)
        if self._actions_tm1 is not None:
            raise RuntimeError("step_async: the step before still has to be waited for")
        self._actions_tm1 = actions.copy()

    def step_wait(self) -> TimeStep:
        """Carry out the actions of ``step_async``.

        Raises:
            RuntimeError: no step has been begun.
        """
        actions = self._actions_tm1
        if actions is None:
            raise RuntimeError("step_wait: call step_async first")
        self._actions_tm1 = None
        observation_t, reward, terminated, truncated, _ = self._vector_env.step(actions)
        is_first_t = self._is_last_tm1
        self._log.record(actions)
        is_seeded = self._log.seed_anew(is_first_t)
        if is_seeded.any():
            observation_t = self._reset_some(is_seeded, self._log.seeds()[is_seeded])
        is_last_t: BoolArray = terminated | truncated
        reward_t = reward.astype(np.float32)
        episode_return_t, episode_length_t = self._accounting.update(
            reward_t=reward_t, is_first_t=is_first_t, is_last_t=is_last_t
        )
        self._is_last_tm1 = is_last_t
        self._time_step = TimeStep(
            observation_t=observation_t,
            reward_t=reward_t,
            is_first_t=is_first_t,
            is_terminal_t=terminated,
            is_last_t=is_last_t,
            episode_return_t=episode_return_t,
            episode_length_t=episode_length_t,
        )
        return self._time_step

    def state_dict(self) -> ControlState:
        """The episodes in progress, as what leads to them: seeds and actions.

        Raises:
            RuntimeError: before the first reset, or while a step is under way.
        """
        if self._time_step is None or self._actions_tm1 is not None:
            raise RuntimeError("state_dict: needs games in progress and no step under way")
        return {
            "game": self._game,
            "log": self._log.state_dict(),
            "accounting": self._accounting.state_dict(),
            "time_step": self._time_step.state_dict(),
        }

    def load_state_dict(self, state: ControlState) -> TimeStep:
        """Play the episodes of ``state`` up to where they stood.

        Returns:
            The time step they stood at, from which the same actions lead to the same episodes.

        Raises:
            ValueError: the task is another, or comes to other states (another Gymnasium).
        """
        if state["game"] != self._game:
            raise ValueError(f"the saved games are of {state['game']}, not of {self._game}")
        self._log.load_state_dict(state["log"])
        observation_t = self._log.replay(
            reset=self._reset_some, step=lambda actions: self._vector_env.step(actions)[0]
        )
        self._time_step = TimeStep.from_state_dict(state["time_step"])
        check_arrived(observation_t, self._time_step)
        self._actions_tm1 = None
        self._accounting.load_state_dict(state["accounting"])
        self._is_last_tm1 = self._time_step.is_last_t
        return self._time_step

    def _reset_some(self, mask: BoolArray, seeds: IntArray) -> ObservationArray:
        """Open episodes from seeds, and say where all episodes stand."""
        seed_of_env: list[int | None] = [None] * self.num_envs
        for env, seed in zip(np.flatnonzero(mask), seeds, strict=True):
            seed_of_env[env] = int(seed)
        reset = self._vector_env.reset(seed=seed_of_env, options={"reset_mask": mask})
        observation_t: ObservationArray = reset[0]
        return observation_t

    def render(self) -> RgbArray:
        """A picture of the task, ``[height, width, 3]`` uint8.

        Raises:
            ValueError: without ``render_mode="rgb_array"``.
            ImportError: when the package that draws is not installed, naming the extra.
        """
        if self._render_mode is None:
            raise ValueError("render() needs an environment made with render_mode='rgb_array'")
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


def _check_id(game: str) -> None:
    if game not in gymnasium.registry:
        nearest = difflib.get_close_matches(game, gymnasium.registry, n=1)
        hint = f", did you mean '{nearest[0]}'?" if nearest else ""
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
