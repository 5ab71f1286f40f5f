"""MinAtar's five games behind the interface of the Atari games: Atari's dynamics on 10x10 cells.

The games are the ``minatar`` package's (Young & Tian 2019, arXiv 1903.03176; its licence is the
GPL, and it is an extra of this project for that reason: ``pip install 'rmsprop-dqn[minatar]'``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np

from dqn.environments.base import StepResult, VectorEnvironment
from dqn.environments.minatar_state import (
    game_state,
    load_game_state,
    load_random_state,
    random_state,
)
from dqn.environments.protocols import BehaviourEpsilon
from dqn.environments.rendering import RgbArray
from dqn.names import nearest
from dqn.types import BoolArray, IntArray, ObservationArray, TimeStep

MINATAR_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")

_SCREEN_SIZE = (10, 10)
_PIXELS_PER_CELL = 16  # in pictures of the game


@dataclass(frozen=True, kw_only=True)
class MinAtarProtocol:
    """How a MinAtar game is played: the package's own defaults, and what it leaves open.

    Attributes:
        name: the preset's name.
        minimal_action_set: only the actions that do something in the game, rather than all six.
        repeat_action_probability: probability that the previous action is executed instead of the
            chosen one (``Environment.sticky_action_prob``). The first action of a game may be the
            last of the game before, as in the package.
        difficulty_ramping: enemies become faster and more as the game goes on (asterix, seaquest,
            space_invaders).
        max_agent_steps_per_game: a longer game is cut: last without being terminal. The package
            cuts none, and a perfect policy would never lose Breakout. Freeway ends by itself after
            2,500 steps, which the package and hence this environment call terminal.
        evaluation_epsilon: ε of the evaluated policy; sticky actions make its games differ.
        max_abs_reward: the agent learns from rewards clipped to ± this; None: from the raw ones.
        behaviour_epsilon: ε of the training policy; None: the agent's settings say it.
    """

    name: str
    minimal_action_set: bool
    repeat_action_probability: float = 0.1
    difficulty_ramping: bool = True
    max_agent_steps_per_game: int = 10_000
    evaluation_epsilon: float = 0.0
    max_abs_reward: float | None = None
    behaviour_epsilon: BehaviourEpsilon | None = None


# The names follow the package's Gymnasium ids: MinAtar/Breakout-v0 has six actions (the paper and
# examples/dqn.py), -v1 the minimal set.
MINATAR_PROTOCOLS: Mapping[str, MinAtarProtocol] = MappingProxyType(
    {
        "minatar_v0": MinAtarProtocol(name="minatar_v0", minimal_action_set=False),
        "minatar_v1": MinAtarProtocol(name="minatar_v1", minimal_action_set=True),
    }
)


def get_minatar_protocol(name: str) -> MinAtarProtocol:
    """The preset called ``name``.

    Raises:
        ValueError: when there is none, naming all.

    >>> get_minatar_protocol("minatar_v1").repeat_action_probability
    0.1
    """
    if name not in MINATAR_PROTOCOLS:
        allowed = ", ".join(sorted(MINATAR_PROTOCOLS))
        raise ValueError(f"env.protocol={name!r}: MinAtar's protocols are {allowed}")
    return MINATAR_PROTOCOLS[name]


def check_minatar_game(name: str) -> None:
    """Refuse a name that is none of the five games.

    >>> check_minatar_game("breakout")
    >>> check_minatar_game("pong")
    Traceback (most recent call last):
    ValueError: env.game='pong': MinAtar's games are asterix, breakout, freeway, seaquest, \
space_invaders

    Raises:
        ValueError: naming the nearest.
    """
    if name not in MINATAR_GAMES:
        raise ValueError(
            f"env.game={name!r}: MinAtar's games are {', '.join(MINATAR_GAMES)}"
            f"{nearest(name.lower(), MINATAR_GAMES)}"
        )


class MinAtarEnvironment(VectorEnvironment):
    """``num_envs`` copies of one MinAtar game that step together, one after the other.

    An observation is one uint8 plane of zeros and ones for each kind of object, without a stack:
    trails show where things move. Games restart by themselves one step after their last
    observation (see ``TimeStep``).

    Args:
        game: ``"asterix"``, ``"breakout"``, ``"freeway"``, ``"seaquest"`` or ``"space_invaders"``.
        protocol: action set, sticky actions, difficulty, cut.
        num_envs: number of copies, stepped in this process.
        seed: copy ``i`` draws everything that is random from ``seed + i``.
        render_mode: ``"rgb_array"`` to see the game through ``render``; one copy only.

    Raises:
        ValueError: for an unknown game or an argument out of range, naming it.
        ImportError: without the ``minatar`` package, naming the extra.
    """

    def __init__(
        self,
        game: str,
        *,
        protocol: MinAtarProtocol,
        num_envs: int,
        seed: int,
        render_mode: str | None = None,
    ) -> None:
        check_minatar_game(game)
        super().__init__(game, num_envs=num_envs, seed=seed, render_mode=render_mode)
        self._protocol = protocol
        base_env = _import_minatar().BaseEnv
        self._envs: list[Any] = [
            base_env(
                game=game,
                use_minimal_action_set=protocol.minimal_action_set,
                sticky_action_prob=protocol.repeat_action_probability,
                difficulty_ramping=protocol.difficulty_ramping,
                render_mode=render_mode,
            )
            for _ in range(num_envs)
        ]
        height, width, num_channels = self._envs[0].observation_space.shape
        assert (height, width) == _SCREEN_SIZE
        self._num_channels = int(num_channels)

    @property
    def protocol(self) -> MinAtarProtocol:
        """The protocol the games are played under."""
        return self._protocol

    @property
    def action_meanings(self) -> tuple[str, ...]:
        """The package's letters: no action, left, up, right, down, fire."""
        env = self._envs[0]
        return tuple(env.game.env.action_map[action] for action in env.action_set)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Shape of one frame: the whole observation."""
        return (self._num_channels, *_SCREEN_SIZE)

    @property
    def observation_dtype(self) -> np.dtype[np.uint8]:
        """Zeros and ones; a byte a cell, like a grey level of Atari."""
        return np.dtype(np.uint8)

    def _open_games(self) -> ObservationArray:
        observation_t = self._empty_observation()
        for i, env in enumerate(self._envs):
            # The package's reset keeps the last game's action, which a sticky action would repeat.
            env.game.last_action = 0
            observation_t[i] = _planes(env.reset(seed=self._seed + i)[0])
        return observation_t

    def _finish(self, actions: IntArray, is_first_t: BoolArray) -> StepResult:
        observation_t = self._empty_observation()
        reward_t = np.zeros(self.num_envs, dtype=np.float32)
        is_terminal_t = np.zeros(self.num_envs, dtype=np.bool_)
        for i, env in enumerate(self._envs):
            if is_first_t[i]:
                observation, _ = env.reset()
            else:
                observation, reward_t[i], is_terminal_t[i], _, _ = env.step(int(actions[i]))
            observation_t[i] = _planes(observation)
        length_t = np.where(is_first_t, 0, self._accounting.length + 1)
        return StepResult(
            observation_t=observation_t,
            reward_t=reward_t,
            is_terminal_t=is_terminal_t,
            is_last_t=is_terminal_t | (length_t >= self._protocol.max_agent_steps_per_game),
        )

    def _picture(self) -> RgbArray:
        """The game in the package's colours, 160x160."""
        cells = np.rint(self._envs[0].render() * 255.0).astype(np.uint8)  # [10, 10, 3]
        picture: RgbArray = cells.repeat(_PIXELS_PER_CELL, axis=0).repeat(_PIXELS_PER_CELL, axis=1)
        return picture

    def _save(self) -> dict[str, Any]:
        return {
            "games": [game_state(env.game.env) for env in self._envs],
            "last_actions": [int(env.game.last_action) for env in self._envs],
            "random_states": [random_state(env.game.random) for env in self._envs],
        }

    def _restore(self, state: dict[str, Any], time_step: TimeStep) -> None:
        if len(state["games"]) != self.num_envs:
            raise ValueError(
                f"the saved state has {len(state['games'])} games, this environment {self.num_envs}"
            )
        for i, env in enumerate(self._envs):
            load_game_state(env.game.env, state["games"][i])
            env.game.last_action = state["last_actions"][i]
            load_random_state(env.game.random, state["random_states"][i])
            # A game and its sticky actions draw from one generator, as after the package's seed().
            env.game.env.random = env.game.random

    def _empty_observation(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.empty((self.num_envs, *self.frame_shape), dtype=np.uint8)


def _import_minatar() -> Any:
    try:
        return import_module("minatar.gym")
    except ImportError as error:
        raise ImportError(
            f"env=minatar needs the minatar package (GPL): pip install 'rmsprop-dqn[minatar]' "
            f"({error})"
        ) from error


def _planes(state: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """``[10, 10, channels]`` of the package as ``[channels, 10, 10]``."""
    return state.transpose(2, 0, 1)
