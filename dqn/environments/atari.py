"""Atari games on ALE's C++ vector environment, under a protocol."""

import os
from functools import partial
from typing import Any

import numpy as np
import torch
from ale_py import ALEInterface, roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from dqn.environments.action_log import ActionLog, check_arrived
from dqn.environments.base import StepResult, VectorEnvironment
from dqn.environments.games import check_game
from dqn.environments.protocols import AtariProtocol
from dqn.environments.rendering import AtariRenderer, RgbArray, close_vector_env
from dqn.types import BoolArray, IntArray, ObservationArray, TimeStep


class AtariEnvironment(VectorEnvironment):
    """``num_envs`` copies of one Atari game that step together, in ALE's own threads.

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
        num_threads: emulator threads; 0 for what ``OMP_NUM_THREADS`` allows, or without it one
            per copy up to the number of cores. Results do not depend on it.
        render_mode: ``"rgb_array"`` to see the game in colour through ``render``, at the price
            of a second emulator; one copy only.

    Raises:
        ValueError: for an unknown game or an argument out of range, naming it.

    >>> from dqn.environments.protocols import PROTOCOLS
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
        super().__init__(game, num_envs=num_envs, seed=seed, render_mode=render_mode)
        if num_threads < 0:
            raise ValueError(f"env.num_threads={num_threads} must be at least 0 (0: automatic)")
        self._protocol = protocol
        self._life_loss_is_terminal = training and protocol.life_loss_is_terminal
        build = partial(
            _build_vector_env,
            game,
            protocol=protocol,
            num_envs=num_envs,
            num_threads=num_threads or _num_allowed_threads(),
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
        self._lives_tm1: IntArray = np.zeros(num_envs, dtype=np.int64)

    @property
    def protocol(self) -> AtariProtocol:
        """The protocol the games are played under."""
        return self._protocol

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
    def observation_dtype(self) -> np.dtype[np.uint8]:
        """Grey levels 0..255."""
        return np.dtype(np.uint8)

    def _open_games(self) -> ObservationArray:
        observation_t: ObservationArray
        observation_t, info = self._vector_env.reset(seed=self._seed)
        if self._renderer is not None:
            self._renderer.reset(self._seed)
        self._log.reset()
        self._lives_tm1 = info["lives"].astype(np.int64)
        return observation_t

    def _begin(self, actions: IntArray) -> None:
        self._vector_env.send(actions)

    def _finish(self, actions: IntArray, is_first_t: BoolArray) -> StepResult:
        observation_t, reward, terminated, truncated, info = self._vector_env.recv()
        if self._renderer is not None:
            self._renderer.step(actions, reward, terminated, truncated)
        self._log.record(actions)
        is_seeded = self._log.seed_anew(is_first_t)
        if is_seeded.any():
            # ALE has opened these games from a generator that cannot be restored, so they are
            # opened once more from a seed. The other games' observations stay as they were.
            observation_t, info = self._reset_some(is_seeded, self._log.seeds()[is_seeded])
        lives_t = info["lives"].astype(np.int64)
        is_terminal_t: BoolArray = terminated
        if self._life_loss_is_terminal:
            is_terminal_t = terminated | (~is_first_t & (lives_t < self._lives_tm1))
        self._lives_tm1 = lives_t
        return StepResult(
            observation_t=observation_t,
            reward_t=reward.astype(np.float32),
            is_terminal_t=is_terminal_t,
            is_last_t=terminated | truncated,
        )

    def _save(self) -> dict[str, Any]:
        # ALE cannot copy its games, so seeds and actions are saved, which lead to them again.
        return {
            "log": self._log.state_dict(),
            "lives": torch.from_numpy(self._lives_tm1.copy()),
        }

    def _restore(self, state: dict[str, Any], time_step: TimeStep) -> None:
        """Play the games up to where they stood: some ten thousand steps at most."""
        self._log.load_state_dict(state["log"])
        observation_t = self._log.replay(
            reset=lambda mask, seeds: self._reset_some(mask, seeds)[0],
            step=lambda actions: self._vector_env.step(actions)[0],
        )
        check_arrived(observation_t, time_step)
        self._lives_tm1 = state["lives"].numpy().copy()

    def _reset_some(
        self, mask: BoolArray, seeds: IntArray
    ) -> tuple[ObservationArray, dict[str, IntArray]]:
        """Open games from seeds, and say where all games stand."""
        if self._renderer is not None:
            self._renderer.reset(int(seeds[0]))
        observation_t, info = self._vector_env.reset(seed=seeds, options={"reset_mask": mask})
        return observation_t, info

    def _picture(self) -> RgbArray:
        """The screen in the game's own size and colours."""
        assert self._renderer is not None
        return self._renderer.frame()

    def close(self) -> None:
        """Stop the emulator's threads; stepping afterwards is an error."""
        close_vector_env(self._vector_env)
        if self._renderer is not None:
            self._renderer.close()


def _num_allowed_threads() -> int:
    """What ``OMP_NUM_THREADS`` allows, as to a sweep's jobs; 0, the emulator's choice, if unset."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return int(allowed) if allowed.isdecimal() else 0


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
