"""Atari games on ALE's C++ vector environment, under a protocol."""

from functools import partial
from typing import TypedDict

import numpy as np
import torch
from ale_py import ALEInterface, roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from dqn.environments.accounting import AccountingState, EpisodeAccounting, opening_time_step
from dqn.environments.action_log import MAX_SEED, ActionLog, ActionLogState, check_arrived
from dqn.environments.actions import check_actions
from dqn.environments.games import check_game
from dqn.environments.rendering import (
    AtariRenderer,
    RgbArray,
    check_render_mode,
    close_vector_env,
)
from dqn.protocols import AtariProtocol
from dqn.types import BoolArray, IntArray, ObservationArray, TimeStep


class AtariState(TypedDict):
    """What ``AtariEnvironment.state_dict`` returns; ``torch.load(weights_only=True)`` reads it."""

    game: str
    log: ActionLogState
    accounting: AccountingState
    lives: torch.Tensor
    time_step: dict[str, torch.Tensor]


class AtariEnvironment:
    """``num_envs`` copies of one Atari game that step together.

    Observations are stacks of the protocol's frames, newest last, with zeros before a game's
    first frame. Rewards are the raw changes of the game's score. Games restart by themselves one
    step after their last observation (see ``TimeStep``).

    Three things ALE offers are not used, because each would hide something. Its reward clipping
    hides the score. Its ``episodic_life`` resets the whole game at every lost life, so that only
    first lives are ever played, and its ``life_loss_info`` reports the loss as the end of a game.
    Here a lost life is seen in the counter of lives, and only ``is_terminal_t`` tells of it.

    Args:
        game: ALE's snake_case name, such as ``"ms_pacman"``.
        protocol: how the game is shown, started and ended.
        num_envs: number of copies.
        seed: copy ``i`` draws its no-ops and sticky actions from ``seed + i``, and after some ten
            thousand steps from a hash of it (``action_log``).
        training: whether a lost life ends the return, where the protocol says so, and which of
            its two frame limits cuts a game.
        num_threads: emulator threads; 0 for one per copy up to the number of cores. Results do
            not depend on it.
        render_mode: ``"rgb_array"`` to see the game in colour through ``render``, at the price
            of a second emulator; one copy only.

    Raises:
        ValueError: for an unknown game or an argument out of range, naming it.

    >>> from dqn.protocols import PROTOCOLS
    >>> environment = AtariEnvironment(
    ...     "pong", protocol=PROTOCOLS["nature"], num_envs=2, seed=0, training=True)
    >>> time_step = environment.reset()
    >>> time_step.observation_t.shape, environment.num_actions
    ((2, 4, 84, 84), 6)
    >>> environment.close()
    """

    def __init__(
        self,
        game: str,
        *,
        protocol: AtariProtocol,
        num_envs: int,
        seed: int,
        training: bool,
        num_threads: int = 0,
        render_mode: str | None = None,
    ) -> None:
        check_game(game)
        if num_envs < 1:
            raise ValueError(f"env.num_envs={num_envs} must be at least 1")
        if not 0 <= seed <= MAX_SEED - num_envs:
            raise ValueError(f"seed={seed} must be in 0..{MAX_SEED - num_envs}")
        if num_threads < 0:
            raise ValueError(f"env.num_threads={num_threads} must be at least 0 (0: automatic)")
        check_render_mode(render_mode, num_envs=num_envs)
        self._game = game
        self._protocol = protocol
        self._seed = seed
        self._life_loss_is_terminal = training and protocol.life_loss_is_terminal
        build = partial(
            _build_vector_env,
            game,
            protocol=protocol,
            num_envs=num_envs,
            num_threads=num_threads,
            max_frames_per_game=protocol.max_frames_per_game(training=training),
        )
        self._vector_env = build(
            grayscale=True, screen_size=protocol.screen_size, stack_size=protocol.stack_size
        )
        self._action_meanings = tuple(a.name for a in self._vector_env.ale.get_action_set())
        self._renderer = None
        if render_mode is not None:
            self._renderer = AtariRenderer(
                build(grayscale=False, screen_size=_native_screen_size(game), stack_size=1)
            )
        self._log = ActionLog(num_envs=num_envs, seed=seed)
        self._accounting = EpisodeAccounting(num_envs)
        self._lives_tm1: IntArray = np.zeros(num_envs, dtype=np.int64)
        self._is_last_tm1: BoolArray = np.zeros(num_envs, dtype=np.bool_)
        self._actions_tm1: IntArray | None = None  # of a step that is under way
        self._time_step: TimeStep | None = None

    @property
    def game(self) -> str:
        """ALE's name of the game."""
        return self._game

    @property
    def protocol(self) -> AtariProtocol:
        """The protocol the games are played under."""
        return self._protocol

    @property
    def num_envs(self) -> int:
        """Copies that step together."""
        return self._vector_env.num_envs

    @property
    def num_actions(self) -> int:
        """Actions the agent chooses from, ``0..num_actions - 1``."""
        return len(self._action_meanings)

    @property
    def action_meanings(self) -> tuple[str, ...]:
        """Joystick meaning of each action, such as ``("NOOP", "FIRE", "RIGHT", "LEFT")``."""
        return self._action_meanings

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Shape of one frame of the stack."""
        return self._protocol.screen_size

    @property
    def stack_size(self) -> int:
        """Frames in an observation."""
        return self._protocol.stack_size

    @property
    def frame_skip(self) -> int:
        """Emulator frames per agent step."""
        return self._protocol.frame_skip

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """``(stack_size, height, width)`` of one copy's observation."""
        return (self.stack_size, *self.frame_shape)

    @property
    def observation_dtype(self) -> np.dtype[np.uint8]:
        """Grey levels 0..255."""
        return np.dtype(np.uint8)

    def reset(self) -> TimeStep:
        """Start anew from the seed: the same actions lead to the same games every time."""
        if self._actions_tm1 is not None:
            self.step_wait()
        observation_t, info = self._vector_env.reset(seed=self._seed)
        if self._renderer is not None:
            self._renderer.reset(self._seed)
        self._log.reset()
        self._accounting.reset()
        self._lives_tm1 = info["lives"].astype(np.int64)
        self._is_last_tm1 = np.zeros(self.num_envs, dtype=np.bool_)
        self._time_step = opening_time_step(observation_t)
        return self._time_step

    def step(self, actions: IntArray) -> TimeStep:
        """Hold each copy's action for ``frame_skip`` frames: ``step_async``, then ``step_wait``.

        Args:
            actions: ``[num_envs]`` int64 in ``0..num_actions - 1``; ignored where a game starts.

        Raises:
            ValueError: for actions of another shape or dtype, or out of range.
        """
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: IntArray) -> None:
        """Set the emulators going, which run in threads of their own until ``step_wait``.

        Args:
            actions: as ``step`` takes them.

        Raises:
            ValueError: as ``step`` does; no game has moved then.
            RuntimeError: an earlier step has not been waited for.
        """
        check_actions(actions, num_envs=self.num_envs, num_actions=self.num_actions)
        if self._actions_tm1 is not None:
            raise RuntimeError("step_async: the step before still has to be waited for")
        self._actions_tm1 = actions.copy()
        self._vector_env.send(self._actions_tm1)

    def step_wait(self) -> TimeStep:
        """What the games answered to the actions of ``step_async``.

        Raises:
            RuntimeError: no step has been begun.
        """
        actions = self._actions_tm1
        if actions is None:
            raise RuntimeError("step_wait: call step_async first")
        observation_t, reward, terminated, truncated, info = self._vector_env.recv()
        self._actions_tm1 = None
        if self._renderer is not None:
            self._renderer.step(actions, reward, terminated, truncated)
        is_first_t = self._is_last_tm1
        self._log.record(actions)
        is_seeded = self._log.seed_anew(is_first_t)
        if is_seeded.any():
            # ALE has opened these games already, from a generator that cannot be restored: once
            # more, from a seed. The other games are left alone and answer what they answered.
            observation_t, info = self._reset_some(is_seeded, self._log.seeds()[is_seeded])
        is_last_t: BoolArray = terminated | truncated
        lives_t = info["lives"].astype(np.int64)
        is_terminal_t: BoolArray = terminated
        if self._life_loss_is_terminal:
            is_terminal_t = terminated | (~is_first_t & (lives_t < self._lives_tm1))
        reward_t = reward.astype(np.float32)
        episode_return_t, episode_length_t = self._accounting.update(
            reward_t=reward_t, is_first_t=is_first_t, is_last_t=is_last_t
        )
        self._lives_tm1 = lives_t
        self._is_last_tm1 = is_last_t
        self._time_step = TimeStep(
            observation_t=observation_t,
            reward_t=reward_t,
            is_first_t=is_first_t,
            is_terminal_t=is_terminal_t,
            is_last_t=is_last_t,
            episode_return_t=episode_return_t,
            episode_length_t=episode_length_t,
        )
        return self._time_step

    def state_dict(self) -> AtariState:
        """The games in progress, as what leads to them: seeds and actions.

        Raises:
            RuntimeError: before the first reset, or while a step is under way.
        """
        if self._time_step is None or self._actions_tm1 is not None:
            raise RuntimeError("state_dict: needs games in progress and no step under way")
        return {
            "game": self._game,
            "log": self._log.state_dict(),
            "accounting": self._accounting.state_dict(),
            "lives": torch.from_numpy(self._lives_tm1.copy()),
            "time_step": self._time_step.state_dict(),
        }

    def load_state_dict(self, state: AtariState) -> TimeStep:
        """Play the games of ``state`` up to where they stood; some ten thousand steps at most.

        Returns:
            The time step they stood at, from which the same actions lead to the same games.

        Raises:
            ValueError: the games are others, or come to other pictures (another ale-py).
        """
        if state["game"] != self._game:
            raise ValueError(f"the saved games are of {state['game']}, not of {self._game}")
        self._log.load_state_dict(state["log"])
        observation_t = self._log.replay(
            reset=lambda mask, seeds: self._reset_some(mask, seeds)[0],
            step=lambda actions: self._vector_env.step(actions)[0],
        )
        self._time_step = TimeStep.from_state_dict(state["time_step"])
        check_arrived(observation_t, self._time_step)
        self._actions_tm1 = None
        self._accounting.load_state_dict(state["accounting"])
        self._lives_tm1 = state["lives"].numpy().copy()
        self._is_last_tm1 = self._time_step.is_last_t
        return self._time_step

    def _reset_some(
        self, mask: BoolArray, seeds: IntArray
    ) -> tuple[ObservationArray, dict[str, IntArray]]:
        """Open games from seeds, and say where all games stand."""
        if self._renderer is not None:
            self._renderer.reset(int(seeds[0]))
        observation_t, info = self._vector_env.reset(seed=seeds, options={"reset_mask": mask})
        return observation_t, info

    def render(self) -> RgbArray:
        """The current screen in its own size and colours, ``[height, width, 3]`` uint8.

        Raises:
            ValueError: without ``render_mode="rgb_array"``.
        """
        if self._renderer is None:
            raise ValueError("render() needs an environment made with render_mode='rgb_array'")
        return self._renderer.frame()

    def close(self) -> None:
        """Stop the emulator's threads; stepping afterwards is an error."""
        close_vector_env(self._vector_env)
        if self._renderer is not None:
            self._renderer.close()


def _build_vector_env(
    game: str,
    *,
    protocol: AtariProtocol,
    num_envs: int,
    num_threads: int,
    max_frames_per_game: int,
    grayscale: bool,
    screen_size: tuple[int, int],
    stack_size: int,
) -> AtariVectorEnv:
    height, width = screen_size
    return AtariVectorEnv(
        game,
        num_envs,
        num_threads=num_threads,
        max_num_frames_per_episode=max_frames_per_game,
        repeat_action_probability=protocol.repeat_action_probability,
        full_action_space=protocol.full_action_space,
        autoreset_mode=AutoresetMode.NEXT_STEP,
        img_height=height,
        img_width=width,
        grayscale=grayscale,
        stack_num=stack_size,
        frameskip=protocol.frame_skip,
        maxpool=protocol.max_pool,
        noop_max=protocol.noop_max,
        use_fire_reset=protocol.fire_on_reset,
        episodic_life=False,
        life_loss_info=False,
        reward_clipping=False,
    )


def _native_screen_size(game: str) -> tuple[int, int]:
    """``(height, width)`` of the game's own picture: 210x160 for most, up to 250x160."""
    ale = ALEInterface()
    ale.loadROM(str(roms.get_rom_path(game)))
    height, width = ale.getScreenDims()
    return height, width
