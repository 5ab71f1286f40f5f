"""``VectorEnvironment``: the order of calls, scores, and saved state that all kinds share."""

import abc
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np
import torch

from dqn.environments.accounting import AccountingState, EpisodeAccounting, opening_time_step
from dqn.environments.action_log import MAX_SEED
from dqn.environments.actions import check_actions
from dqn.environments.rendering import RgbArray, check_render_mode
from dqn.types import BoolArray, FloatArray, IntArray, ObservationArray, TimeStep


class StepResult(NamedTuple):
    """What one action in each copy led to, ``[num_envs]``; the fields are ``TimeStep``'s."""

    observation_t: ObservationArray
    reward_t: FloatArray
    is_terminal_t: BoolArray
    is_last_t: BoolArray


class GamesState(TypedDict):
    """What every ``state_dict`` holds; a subclass adds what it needs besides.

    Tensors and plain values, for ``torch.load(weights_only=True)``.
    """

    game: str
    accounting: AccountingState
    time_step: dict[str, torch.Tensor]


class VectorEnvironment(abc.ABC):
    """``num_envs`` copies of one game that step together.

    Games restart by themselves one step after their last observation (see ``TimeStep``).

    Args:
        game: its name.
        num_envs: number of copies.
        seed: copy ``i`` is seeded with ``seed + i``.
        render_mode: ``"rgb_array"`` to see the game through ``render``; one copy only.

    Raises:
        ValueError: for an argument out of range, naming it.
    """

    def __init__(self, game: str, *, num_envs: int, seed: int, render_mode: str | None) -> None:
        if num_envs < 1:
            raise ValueError(f"env.num_envs={num_envs} must be at least 1")
        if not 0 <= seed <= MAX_SEED - num_envs:
            raise ValueError(f"seed={seed} must be in 0..{MAX_SEED - num_envs}")
        check_render_mode(render_mode, num_envs=num_envs)
        self._game = game
        self._num_envs = num_envs
        self._seed = seed
        self._render_mode = render_mode
        self._accounting = EpisodeAccounting(num_envs)
        self._actions_tm1: IntArray | None = None  # None between two steps
        self._time_step: TimeStep | None = None

    @property
    def game(self) -> str:
        """The game's name."""
        return self._game

    @property
    def num_envs(self) -> int:
        """Copies that step together."""
        return self._num_envs

    @property
    def num_actions(self) -> int:
        """Actions the agent chooses from, ``0..num_actions - 1``."""
        return len(self.action_meanings)

    @property
    @abc.abstractmethod
    def action_meanings(self) -> tuple[str, ...]:
        """What each action does."""

    @property
    @abc.abstractmethod
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame: of the whole observation where none are stacked."""

    @property
    @abc.abstractmethod
    def observation_dtype(self) -> np.dtype[Any]:
        """Of observations."""

    @property
    def stack_size(self) -> int:
        """Frames in an observation."""
        return 1

    @property
    def frame_skip(self) -> int:
        """Steps of the game in an agent step."""
        return 1

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one copy's observation: a stack's axis comes first, where there is one."""
        stack = (self.stack_size,) if self.stack_size > 1 else ()
        return (*stack, *self.frame_shape)

    def reset(self) -> TimeStep:
        """Start anew from the seed: the same actions lead to the same games every time."""
        if self._actions_tm1 is not None:
            self.step_wait()
        observation_t = self._open_games()
        self._accounting.reset()
        self._time_step = opening_time_step(observation_t)
        return self._time_step

    def step(self, actions: IntArray) -> TimeStep:
        """Carry out one action in each copy: ``step_async``, then ``step_wait``.

        Args:
            actions: ``[num_envs]`` int64 in ``0..num_actions - 1``; ignored where a game starts.

        Raises:
            ValueError: for actions of another shape or dtype, or out of range.
        """
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: IntArray) -> None:
        """Begin a step; emulators with threads of their own run until ``step_wait``.

        Args:
            actions: as ``step`` takes them.

        Raises:
            ValueError: as ``step`` does; no game has moved then.
            RuntimeError: an earlier step has not been waited for, or there was no reset.
        """
        check_actions(actions, num_envs=self.num_envs, num_actions=self.num_actions)
        if self._time_step is None:
            raise RuntimeError("step_async: reset the environment first")
        if self._actions_tm1 is not None:
            raise RuntimeError("step_async: the step before still has to be waited for")
        self._actions_tm1 = actions.copy()
        self._begin(self._actions_tm1)

    def step_wait(self) -> TimeStep:
        """What the games answer to the actions of ``step_async``.

        Raises:
            RuntimeError: no step has been begun.
        """
        actions, time_step_tm1 = self._actions_tm1, self._time_step
        if actions is None or time_step_tm1 is None:
            raise RuntimeError("step_wait: call step_async first")
        self._actions_tm1 = None
        is_first_t = time_step_tm1.is_last_t
        result = self._finish(actions, is_first_t)
        episode_return_t, episode_length_t = self._accounting.update(
            reward_t=result.reward_t, is_first_t=is_first_t, is_last_t=result.is_last_t
        )
        self._time_step = TimeStep(
            is_first_t=is_first_t,
            episode_return_t=episode_return_t,
            episode_length_t=episode_length_t,
            **result._asdict(),
        )
        return self._time_step

    def state_dict(self) -> GamesState:
        """The games in progress.

        Raises:
            RuntimeError: before the first reset, or while a step is under way.
        """
        if self._time_step is None or self._actions_tm1 is not None:
            raise RuntimeError("state_dict: needs games in progress and no step under way")
        state = {
            "game": self._game,
            "accounting": self._accounting.state_dict(),
            "time_step": self._time_step.state_dict(),
        }
        return cast(GamesState, state | self._save())

    def load_state_dict(self, state: GamesState) -> TimeStep:
        """Bring every game to where it stood.

        Returns:
            The time step they stood at, from which the same actions lead to the same games.

        Raises:
            ValueError: the games are others, of another number, or do not come to where they
                stood (another version of what plays them).
        """
        if state["game"] != self._game:
            raise ValueError(f"the saved games are of {state['game']}, not of {self._game}")
        time_step = TimeStep.from_state_dict(state["time_step"])
        self._restore(cast(dict[str, Any], state), time_step)
        self._actions_tm1 = None
        self._accounting.load_state_dict(state["accounting"])
        self._time_step = time_step
        return time_step

    def render(self) -> RgbArray:
        """A picture of the game, ``[height, width, 3]`` uint8.

        Raises:
            ValueError: without ``render_mode="rgb_array"``.
            ImportError: what draws it is not installed, naming the extra.
        """
        if self._render_mode is None:
            raise ValueError("render() needs an environment made with render_mode='rgb_array'")
        return self._picture()

    def close(self) -> None:  # noqa: B027 (most games have nothing to release)
        """Release what the games hold; stepping afterwards is an error."""

    @abc.abstractmethod
    def _open_games(self) -> ObservationArray:
        """Open every game from its seed."""

    def _begin(self, actions: IntArray) -> None:  # noqa: B027 (most games take no time)
        """Set the games going, where they can go by themselves."""

    @abc.abstractmethod
    def _finish(self, actions: IntArray, is_first_t: BoolArray) -> StepResult:
        """Carry out the actions, or open a game where ``is_first_t``."""

    @abc.abstractmethod
    def _save(self) -> dict[str, Any]:
        """What ``state_dict`` holds besides ``GamesState``."""

    @abc.abstractmethod
    def _restore(self, state: dict[str, Any], time_step: TimeStep) -> None:
        """Bring the games to where they stood; ValueError if that is not possible."""

    @abc.abstractmethod
    def _picture(self) -> RgbArray:
        """What ``render`` gives."""
