"""Uniform experience replay that keeps every frame once.

A state is a stack of the last ``stack_size`` frames, and two neighbouring states share all frames
but one. So the ring stores single frames and rebuilds the stacks when it samples, as the Nature
agent did (google-deepmind/dqn, ``dqn/TransitionTable.lua``): 7,071 bytes per Atari transition,
where storing both stacks costs 56,461. Unlike there, a stack never mixes frames from the two sides
of the write head.

One column of slots is written per decision, one slot per environment; along the ring lies time::

    slot           ...  i-1      i       i+1  ...
    frame               x_tm2    x_tm1   x_t         the newest frame of each state
    action, reward      ...      a_tm1, r_t          what was done there, and what it brought
    s_tm1 ends at slot i and s_t at slot i+1 of the same environment
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch

from dqn.types import Batch, BoolArray, FloatArray, IntArray, ObservationArray

# action int64, reward float32, is_terminal bool, is_transition bool, age uint8
_SCALAR_BYTES = 8 + 4 + 1 + 1 + 1


class ReplayState(TypedDict):
    """What ``UniformReplay.state_dict`` returns; ``torch.load(weights_only=True)`` reads it."""

    frames: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    is_terminal: torch.Tensor
    is_transition: torch.Tensor
    age: torch.Tensor
    num_appends: int
    slots: int
    stack_size: int
    generator: torch.Tensor


def bytes_per_transition(frame_shape: Sequence[int], frame_dtype: torch.dtype) -> int:
    """Bytes that one slot of the ring takes, everything included.

    >>> bytes_per_transition((84, 84), torch.uint8)
    7071
    """
    return math.prod(frame_shape) * frame_dtype.itemsize + _SCALAR_BYTES


def available_bytes(device: torch.device) -> int:
    """Memory that can be taken on ``device`` now, as its driver or the operating system says.

    On the CPU that is ``MemAvailable`` of ``/proc/meminfo`` (free memory and caches that can be
    dropped), elsewhere the free physical pages. A container's own limit is not seen.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(":")
            if key == "MemAvailable":
                return int(value.split()[0]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class UniformReplay:
    """A ring of transitions from environments that step together, sampled uniformly.

    A slot can be sampled if a decision was taken there, its successor is already written, and no
    frame of its stack has been overwritten. Every such transition is equally likely, by rejection:
    slots are drawn uniformly and those that cannot be sampled are drawn again.

    Which slots are drawn is decided on the CPU, so the same seed draws the same transitions on
    every device; the storage lies on ``device``.

    Args:
        num_envs: environments that step together.
        capacity: slots in all, rounded up to the same number for every environment. A game's last
            observation takes a slot too.
        frame_shape: shape of a single frame, ``(84, 84)`` for Atari.
        frame_dtype: ``torch.uint8`` for Atari.
        stack_size: frames in a state: states are ``[stack_size, *frame_shape]``, oldest frame
            first. With 1 there is no stack axis: the frame is the state.
        seed: seeds the sampler's own generator.
        device: where the storage lies and batches are born.

    Raises:
        ValueError: ``capacity`` holds less than a stack and its successor per environment, or
            needs more memory than ``device`` has available.

    Example: three frames of one game, hence two transitions.

    >>> replay = UniformReplay(num_envs=1, capacity=8, frame_shape=(), frame_dtype=torch.float32,
    ...                        stack_size=2, seed=0)
    >>> for frame, action in ((5, 0), (6, 1), (7, 0)):
    ...     replay.append(
    ...         frame_tm1=np.array([frame], np.float32), is_first_tm1=np.array([frame == 5]),
    ...         action_tm1=np.array([action]), reward_t=np.array([frame / 10], np.float32),
    ...         is_terminal_t=np.array([False]), is_transition=np.array([True]))
    >>> len(replay)
    2
    >>> batch = replay.sample(2)
    >>> batch.s_tm1, batch.s_t
    (tensor([[0., 5.],
            [5., 6.]]), tensor([[5., 6.],
            [6., 7.]]))
    """

    def __init__(
        self,
        *,
        num_envs: int,
        capacity: int,
        frame_shape: Sequence[int],
        frame_dtype: torch.dtype,
        stack_size: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        if not 1 <= stack_size <= 254:  # ages are counted up to stack_size, and one on, in uint8
            raise ValueError(f"stack_size={stack_size} must be in 1..254")
        slots = math.ceil(capacity / num_envs)
        if slots < stack_size + 1:
            raise ValueError(
                f"replay.capacity={capacity} is too small: {num_envs} environments with stacks of "
                f"{stack_size} frames need at least {num_envs * (stack_size + 1)}"
            )
        self._device = torch.device(device)
        slot_bytes = bytes_per_transition(frame_shape, frame_dtype)
        needed, available = num_envs * slots * slot_bytes, available_bytes(self._device)
        if needed > available:
            most = available // (num_envs * slot_bytes) * num_envs
            raise ValueError(
                f"replay.capacity={capacity} needs {needed / 1e9:.2f} GB but "
                f"{available / 1e9:.2f} GB are available on {self._device}: "
                f"set replay.capacity to at most {most}"
            )
        self._num_envs = num_envs
        self._slots = slots
        self._frame_shape = tuple(frame_shape)
        self._stack_size = stack_size
        self._num_appends = 0
        self._num_transitions = 0
        self._generator = torch.Generator().manual_seed(seed)

        # Left uninitialised on purpose: the operating system then hands out pages as the ring
        # fills, and a slot is never read as part of a state before it is written.
        shape = (num_envs, slots)
        self._frames = torch.empty((*shape, *frame_shape), dtype=frame_dtype, device=self._device)
        self._actions = torch.empty(shape, dtype=torch.int64, device=self._device)
        self._rewards = torch.empty(shape, dtype=torch.float32, device=self._device)
        self._is_terminal = torch.empty(shape, dtype=torch.bool, device=self._device)
        # The sampler's share stays on the CPU: whether a decision was taken in the slot, and how
        # many frames of its game came before it, counted up to stack_size.
        self._is_transition = torch.zeros(shape, dtype=torch.bool)
        self._age = torch.zeros(shape, dtype=torch.uint8)

        self._window_offsets = torch.arange(1 - stack_size, 2)  # the stack, then its successor

    @property
    def nbytes(self) -> int:
        """Bytes of the whole storage, whether written yet or not."""
        return (
            self._num_envs
            * self._slots
            * bytes_per_transition(self._frame_shape, self._frames.dtype)
        )

    @property
    def num_sampleable(self) -> int:
        """Number of transitions that ``sample`` draws from."""
        size = self._size
        if size == 0:
            return 0
        newest = (self._num_appends - 1) % self._slots
        num_without_successor = int(self._is_transition[:, newest].sum())
        k = torch.arange(min(self._stack_size - 1, size - 1)).expand(self._num_envs, -1)
        slot = self._slot(k)
        cut = self._is_transition.gather(1, slot) & (self._age.gather(1, slot) > k)
        return self._num_transitions - num_without_successor - int(cut.sum())

    def __len__(self) -> int:
        """Number of transitions that ``sample`` draws from."""
        return self.num_sampleable

    @property
    def _size(self) -> int:
        """Columns written and not yet overwritten."""
        return min(self._num_appends, self._slots)

    def _slot(self, k: torch.Tensor) -> torch.Tensor:
        """Slot of the k-th oldest column, 0 <= k < size."""
        return (k + (self._num_appends - self._size)) % self._slots

    def append(
        self,
        *,
        frame_tm1: ObservationArray,
        is_first_tm1: BoolArray,
        action_tm1: IntArray,
        reward_t: FloatArray,
        is_terminal_t: BoolArray,
        is_transition: BoolArray,
    ) -> None:
        """Writes one decision of every environment.

        A game that opens without the last one having been closed (an environment reset by hand, a
        run resumed without its environments) cuts that game: its last decision, whose outcome was
        never observed, is not sampled.

        Args:
            frame_tm1: ``[num_envs, *frame_shape]`` newest frame of ``s_tm1``, in ``frame_dtype``.
            is_first_tm1: ``[num_envs]`` bool, the frame opens a game.
            action_tm1: ``[num_envs]`` the action chosen there.
            reward_t: ``[num_envs]`` the raw reward it brought.
            is_terminal_t: ``[num_envs]`` bool, the return ended with it (discount 0).
            is_transition: ``[num_envs]`` bool, whether it was a decision at all: False at a game's
                last observation, where the environment ignores the action and resets.

        Raises:
            ValueError: a shape does not fit, or the first append does not open a game everywhere.
            TypeError: ``frame_tm1`` is not of ``frame_dtype``.
        """
        frames = self._column("frame_tm1", frame_tm1, self._frame_shape)
        if frames.dtype != self._frames.dtype:
            raise TypeError(f"frame_tm1 is {frames.dtype}, this replay holds {self._frames.dtype}")
        is_first = self._column("is_first_tm1", is_first_tm1)
        actions = self._column("action_tm1", action_tm1)
        rewards = self._column("reward_t", reward_t)
        terminal = self._column("is_terminal_t", is_terminal_t)
        transition = self._column("is_transition", is_transition)
        if self._num_appends == 0 and not is_first.all():
            raise ValueError("is_first_tm1 must be true in every environment at the first append")

        head, newest = self._num_appends % self._slots, (self._num_appends - 1) % self._slots
        self._num_transitions -= int((self._is_transition[:, newest] & is_first).sum())
        self._is_transition[:, newest] &= ~is_first
        self._num_transitions += int(transition.sum() - self._is_transition[:, head].sum())
        self._is_transition[:, head] = transition
        age = (self._age[:, newest] + 1).clamp_(max=self._stack_size)
        self._age[:, head] = age.masked_fill_(is_first, 0)

        self._frames[:, head] = frames.to(self._device)
        self._actions[:, head] = actions.to(self._device)
        self._rewards[:, head] = rewards.to(self._device)
        self._is_terminal[:, head] = terminal.to(self._device)
        self._num_appends += 1

    def _column(
        self, name: str, values: npt.NDArray[np.generic], shape: tuple[int, ...] = ()
    ) -> torch.Tensor:
        """A copy of ``values`` as a tensor, checked to be ``[num_envs, *shape]``."""
        column = torch.tensor(np.asarray(values))
        if column.shape != (self._num_envs, *shape):
            raise ValueError(
                f"{name} has shape {list(column.shape)}, expected {[self._num_envs, *shape]}"
            )
        return column

    def sample(self, batch_size: int) -> Batch:
        """Draws transitions uniformly, with replacement.

        ``s_tm1`` and ``s_t`` are two views of one gather of ``stack_size + 1`` frames: their
        common frames are fetched once, and writing into one state changes the other.

        Returns:
            A ``Batch`` on the replay's device. States are
            ``[batch_size, stack_size, *frame_shape]`` in ``frame_dtype``, without the stack axis
            where ``stack_size`` is 1; frames before the game's first are zeros.

        Raises:
            ValueError: no transition can be sampled yet.
        """
        env, k = self._draw(batch_size)
        slot = self._slot(k)
        first_slot_of_env = env * self._slots
        window = self._slot(k[:, None] + self._window_offsets) + first_slot_of_env[:, None]
        num_padding = (self._stack_size - 1) - self._age[env, slot].to(torch.int64)
        padding_rows = (torch.arange(self._stack_size + 1) < num_padding[:, None]).flatten()

        index = (first_slot_of_env + slot).to(self._device, non_blocking=True)
        window_index = window.flatten().to(self._device, non_blocking=True)
        frames = self._frames.flatten(0, 1).index_select(0, window_index)
        if padding_rows.any():
            frames.index_fill_(0, padding_rows.nonzero().squeeze(1).to(self._device), 0)
        frames = frames.view(batch_size, self._stack_size + 1, *self._frame_shape)
        has_stack_axis = self._stack_size > 1
        return Batch(
            s_tm1=frames[:, :-1] if has_stack_axis else frames[:, 0],
            a_tm1=self._actions.flatten().index_select(0, index),
            r_t=self._rewards.flatten().index_select(0, index),
            is_terminal_t=self._is_terminal.flatten().index_select(0, index),
            s_t=frames[:, 1:] if has_stack_axis else frames[:, 1],
        )

    def _draw(self, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Environment and age rank k (0 is the oldest column) of ``batch_size`` transitions."""
        if self.num_sampleable == 0:
            raise ValueError("the replay holds no complete transition yet: append before sampling")
        drawn = torch.empty(0, dtype=torch.int64)
        num_candidates = self._size - 1  # the newest column has no successor
        while len(drawn) < batch_size:
            candidates = torch.randint(
                self._num_envs * num_candidates, (2 * batch_size,), generator=self._generator
            )
            env, k = candidates // num_candidates, candidates % num_candidates
            drawn = torch.cat([drawn, candidates[self._is_sampleable(env, k)]])
        drawn = drawn[:batch_size]
        return drawn // num_candidates, drawn % num_candidates

    def _is_sampleable(self, env: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Whether k's decision is a transition whose stack lies within the ring, k < size - 1."""
        slot = self._slot(k)
        num_earlier_frames = self._age[env, slot].clamp(max=self._stack_size - 1)
        return self._is_transition[env, slot] & (num_earlier_frames <= k)

    def state_dict(self) -> ReplayState:
        """Everything that decides later samples: the written slots and the generator.

        The tensors are views of the live storage, since a second copy of a full replay may not
        fit: write them out before the next ``append``.
        """
        size = self._size
        return ReplayState(
            frames=self._frames[:, :size],
            actions=self._actions[:, :size],
            rewards=self._rewards[:, :size],
            is_terminal=self._is_terminal[:, :size],
            is_transition=self._is_transition[:, :size],
            age=self._age[:, :size],
            num_appends=self._num_appends,
            slots=self._slots,
            stack_size=self._stack_size,
            generator=self._generator.get_state(),
        )

    def load_state_dict(self, state_dict: ReplayState) -> None:
        """Continues where the replay that wrote ``state_dict`` stood.

        Raises:
            ValueError: the state is that of a replay of another layout; nothing was loaded.
        """
        size = min(state_dict["num_appends"], self._slots)
        theirs = (
            state_dict["slots"],
            state_dict["stack_size"],
            state_dict["frames"].dtype,
            tuple(state_dict["frames"].shape),
        )
        shape = (self._num_envs, size, *self._frame_shape)
        ours = (self._slots, self._stack_size, self._frames.dtype, shape)
        if theirs != ours:
            raise ValueError(
                "the saved replay (slots, stack_size, dtype, written frames) is "
                f"{theirs}, this one is {ours}: replay.capacity and env must be as they were"
            )
        self._frames[:, :size] = state_dict["frames"]
        self._actions[:, :size] = state_dict["actions"]
        self._rewards[:, :size] = state_dict["rewards"]
        self._is_terminal[:, :size] = state_dict["is_terminal"]
        self._is_transition[:, size:] = False
        self._is_transition[:, :size] = state_dict["is_transition"]
        self._age[:, :size] = state_dict["age"]
        self._num_appends = state_dict["num_appends"]
        self._num_transitions = int(self._is_transition.sum())
        self._generator.set_state(state_dict["generator"])

    def check_valid(self) -> None:
        """Recounts by brute force what ``append`` keeps incrementally; for tests.

        Raises:
            RuntimeError: an invariant is broken.
        """
        size, stack_size = self._size, self._stack_size
        slot = self._slot(torch.arange(size))
        age = self._age[:, slot].to(torch.int64)
        is_transition = self._is_transition[:, slot]
        ages_on = age[:, 1:] == (age[:, :-1] + 1).clamp(max=stack_size)
        if not (ages_on | (age[:, 1:] == 0)).all():
            raise RuntimeError("the age of a frame neither restarts nor goes on by one")
        if (is_transition[:, :-1] & (age[:, 1:] == 0)).any():
            raise RuntimeError("a transition leads into another game")
        if size < self._slots and (age[:, :1] != 0).any():
            raise RuntimeError("the first slot written does not open a game")
        if self._num_transitions != int(self._is_transition.sum()):
            raise RuntimeError("the count of transitions is wrong")
        k = torch.arange(max(size - 1, 0)).repeat(self._num_envs)
        env = torch.arange(self._num_envs).repeat_interleave(max(size - 1, 0))
        if self.num_sampleable != int(self._is_sampleable(env, k).sum()):
            raise RuntimeError("the count of sampleable transitions is wrong")
