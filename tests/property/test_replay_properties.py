"""The replay against a naive oracle that keeps whole games in Python lists.

Frames are numbered, so a stack tells which frames it was built from. The oracle writes out every
state when it happens and knows nothing of rings: it forgets a transition when one of the frames
it consists of is older than what the ring can hold.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from helpers.replays import check_valid, uniform_replay
from hypothesis import given, settings
from hypothesis import strategies as st

from dqn.replay import Replay


@dataclass(frozen=True)
class Transition:
    """One transition as the oracle knows it."""

    s_tm1: tuple[int, ...]
    a_tm1: int
    r_t: tuple[float, ...]
    is_terminal_t: bool
    s_t: tuple[int, ...]
    num_steps: int


@dataclass
class Game:
    """What happened in one environment, step by step, with the time of every frame."""

    stack_size: int
    frames: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    # Action, reward, and whether the return ended, at each frame whose successor has been seen.
    transitions: dict[int, tuple[int, float, bool]] = field(default_factory=dict)

    def stack(self, end: int) -> tuple[int, ...]:
        """The state whose newest frame is the game's ``end``-th."""
        padded = [0] * (self.stack_size - 1) + self.frames
        return tuple(padded[end : end + self.stack_size])

    def oldest_time(self, end: int) -> int:
        """When the oldest frame of that state was written."""
        return self.times[max(end - self.stack_size + 1, 0)]

    def transition(self, begin: int, n_step: int) -> Transition:
        """From the ``begin``-th frame as far as ``n_step`` agent steps and the return lead."""
        rewards, is_terminal, end = [], False, begin
        while len(rewards) < n_step and end in self.transitions and not is_terminal:
            _, reward, is_terminal = self.transitions[end]
            rewards.append(reward)
            end += 1
        return Transition(
            s_tm1=self.stack(begin),
            a_tm1=self.transitions[begin][0],
            r_t=(*rewards, *[0.0] * (n_step - len(rewards))),
            is_terminal_t=is_terminal,
            s_t=self.stack(end),
            num_steps=len(rewards),
        )


class Oracle:
    """Every transition of one environment that is complete and can still be rebuilt."""

    def __init__(self, stack_size: int, slots: int, n_step: int) -> None:
        self._stack_size = stack_size
        self._slots = slots
        self._n_step = n_step
        self._games: list[Game] = []
        self._pending: tuple[int, float, bool] | None = None

    def append(
        self,
        time: int,
        frame: int,
        first: bool,
        action: int,
        reward: float,
        terminal: bool,
        transition: bool,
    ) -> None:
        if first:
            self._games.append(Game(self._stack_size))
            self._pending = None
        game = self._games[-1]
        game.frames.append(frame)
        game.times.append(time)
        if self._pending is not None:
            game.transitions[len(game.frames) - 2] = self._pending
        self._pending = (action, reward, terminal) if transition else None

    def sampleable(self, time: int) -> set[Transition]:
        return {
            game.transition(begin, self._n_step)
            for game in self._games
            for begin in game.transitions
            if game.oldest_time(begin) > time - self._slots
            and game.times[begin] + self._n_step <= time
        }


@dataclass(frozen=True)
class Step:
    """What an environment may do in one step."""

    ends: bool
    truncates: bool
    loses_life: bool
    is_reset_by_hand: bool


steps = st.builds(
    Step,
    ends=st.integers(0, 5).map(lambda n: n == 0),
    truncates=st.booleans(),
    loses_life=st.integers(0, 3).map(lambda n: n == 0),
    is_reset_by_hand=st.integers(0, 19).map(lambda n: n == 0),
)


class Environments:
    """Numbered frames from environments that restart one call after a game's last observation."""

    def __init__(
        self,
        num_envs: int,
        stack_size: int,
        slots: int,
        seed: int,
        n_step: int = 1,
        compressed: bool = False,
    ) -> None:
        self.replay = uniform_replay(
            num_envs=num_envs,
            capacity=num_envs * slots,
            frame_shape=(1,),
            frame_dtype=torch.int32,
            stack_size=stack_size,
            seed=seed,
            n_step=n_step,
            compressed=compressed,
        )
        self._oracles = [Oracle(stack_size, slots, n_step) for _ in range(num_envs)]
        self._is_first = [True] * num_envs
        self._is_last = [False] * num_envs
        self._time = 0

    def step(self, moves: list[Step]) -> None:
        """One vector of agent steps, told to the replay and to the oracles."""
        self._time += 1
        num_envs = len(moves)
        frame = [self._time * num_envs + env for env in range(num_envs)]
        first = [
            is_first or (move.is_reset_by_hand and not is_last)
            for is_first, is_last, move in zip(self._is_first, self._is_last, moves, strict=True)
        ]
        ends = [
            move.ends and not is_last for move, is_last in zip(moves, self._is_last, strict=True)
        ]
        terminal = [
            (end and not move.truncates) or move.loses_life
            for end, move in zip(ends, moves, strict=True)
        ]
        transition = [not is_last for is_last in self._is_last]
        reward = [float(f % 7) for f in frame]
        self.replay.append(
            frame_tm1=np.array(frame, np.int32)[:, None],
            is_first_tm1=np.array(first),
            action_tm1=np.array(frame) + 1000,
            reward_t=np.array(reward, np.float32),
            is_terminal_t=np.array(terminal),
            is_transition=np.array(transition),
        )
        for env, oracle in enumerate(self._oracles):
            oracle.append(
                self._time,
                frame[env],
                first[env],
                frame[env] + 1000,
                reward[env],
                terminal[env],
                transition[env],
            )
        self._is_first, self._is_last = self._is_last, ends

    def known(self) -> set[Transition]:
        """What the oracles say can be sampled now."""
        return set().union(*(oracle.sampleable(self._time) for oracle in self._oracles))


def _rows(replay: Replay, batch_size: int) -> list[Transition]:
    batch = replay.sample(batch_size)
    stack_shape = (batch_size, -1)
    return [
        Transition(tuple(s_tm1), a_tm1, tuple(r_t), is_terminal_t, tuple(s_t), num_steps)
        for s_tm1, a_tm1, r_t, is_terminal_t, s_t, num_steps in zip(
            batch.s_tm1.reshape(stack_shape).tolist(),
            batch.a_tm1.tolist(),
            batch.r_t.reshape(stack_shape).tolist(),
            batch.is_terminal_t.tolist(),
            batch.s_t.reshape(stack_shape).tolist(),
            batch.num_steps.tolist(),
            strict=True,
        )
    ]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_is_sampled_is_what_happened(data: st.DataObject) -> None:
    num_envs = data.draw(st.integers(1, 3), "num_envs")
    stack_size = data.draw(st.integers(1, 5), "stack_size")
    n_step = data.draw(st.integers(1, 4), "n_step")
    slots = data.draw(st.integers(stack_size + n_step, 20), "slots")
    seed = data.draw(st.integers(0, 9))
    compressed = data.draw(st.booleans(), "compressed")
    environments = Environments(num_envs, stack_size, slots, seed, n_step, compressed)
    moves = st.lists(steps, min_size=num_envs, max_size=num_envs)
    for move in data.draw(st.lists(moves, min_size=1, max_size=60), "moves"):
        environments.step(move)
        check_valid(environments.replay)
        known = environments.known()
        assert len(environments.replay) == len(known)
        if known:
            assert set(_rows(environments.replay, 8)) <= known


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    num_envs=st.integers(1, 3),
    stack_size=st.integers(1, 4),
    n_step=st.integers(1, 3),
    slots=st.integers(7, 12),
    num_steps=st.integers(2, 40),
)
def test_everything_that_can_be_sampled_is_sampled_equally_often(
    seed: int, num_envs: int, stack_size: int, n_step: int, slots: int, num_steps: int
) -> None:
    rng = np.random.default_rng(seed)
    environments = Environments(num_envs, stack_size, slots, seed=seed, n_step=n_step)
    for _ in range(num_steps):
        environments.step(
            [Step(*(rng.random(4) < (0.15, 0.5, 0.2, 0.03)).tolist()) for _ in range(num_envs)]
        )
    known = environments.known()
    if len(known) < 2:
        return
    draws_each = 400
    rows = _rows(environments.replay, draws_each * len(known))
    counts = [rows.count(transition) for transition in known]
    assert sum(counts) == len(rows)
    chi_square = sum((count - draws_each) ** 2 / draws_each for count in counts)
    degrees_of_freedom = len(known) - 1
    # A chi-square of k degrees exceeds k + 2 sqrt(kx) + 2x with probability below exp(-x)
    # (Laurent & Massart 2000, lemma 1). x = 20, over all examples: less than one in a million.
    x = 20.0
    assert chi_square < degrees_of_freedom + 2 * (degrees_of_freedom * x) ** 0.5 + 2 * x


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_saving_and_loading_at_any_time_changes_nothing(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16), "seed"))
    compressed = data.draw(st.booleans(), "compressed")
    environments = Environments(2, stack_size=3, slots=7, seed=0, compressed=compressed)
    for _ in range(data.draw(st.integers(1, 30), "num_steps")):
        environments.step([Step(*(rng.random(4) < 0.15).tolist()) for _ in range(2)])
    saved = environments.replay
    loaded = Environments(2, stack_size=3, slots=7, seed=1, compressed=not compressed).replay
    loaded.load_state_dict(saved.state_dict())
    check_valid(loaded)
    assert len(loaded) == len(saved)
    if len(saved):
        assert _rows(loaded, 20) == _rows(saved, 20)
