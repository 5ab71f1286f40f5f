"""The ring of single frames that every replay stores its transitions in.

A state is a stack of the last ``stack_size`` frames, and two neighbouring states share all frames
but one. So the ring stores single frames and rebuilds the stacks on demand, as the Nature agent
did (google-deepmind/dqn, ``dqn/TransitionTable.lua``): 7,071 bytes per Atari transition, where
storing both stacks costs 56,461. Unlike there, a stack never mixes frames from the two sides of
the write head.

One column of slots is written per decision, one slot per environment; along the ring lies time::

    slot           ...  i-1      i       i+1  ...
    frame               x_tm2    x_tm1   x_t         the newest frame of each state
    action, reward      ...      a_tm1, r_t          what was done there, and what it brought
    s_tm1 ends at slot i and s_t at slot i+1 of the same environment

Columns are also counted by age: k = 0 is the oldest one not yet overwritten.
"""

import math
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import torch

from dqn.memory import available_bytes
from dqn.replay.frames import CompressedFrames, FrameStorage, RawFrames, frame_bytes
from dqn.types import Batch, BoolArray, FloatArray, IntArray, ObservationArray

# action int64, reward float32, is_terminal bool, is_transition bool, age uint8
_SCALAR_BYTES = 8 + 4 + 1 + 1 + 1


class RingState(TypedDict):
    """The written slots of a ring, in the order of the storage, and its layout.

    A checkpoint leaves the frames out of it: it reads them by columns, since a second copy of all
    may not fit.
    """

    frames: NotRequired[torch.Tensor]
    actions: torch.Tensor
    rewards: torch.Tensor
    is_terminal: torch.Tensor
    is_transition: torch.Tensor
    age: torch.Tensor
    num_appends: int
    slots: int
    stack_size: int
    frame_shape: tuple[int, ...]
    frame_dtype: torch.dtype


def bytes_per_transition(
    frame_shape: Sequence[int], frame_dtype: torch.dtype, *, compressed: bool = False
) -> int:
    """Bytes that one slot of the ring takes, everything included; compressed, an estimate.

    >>> bytes_per_transition((84, 84), torch.uint8)
    7071
    """
    return math.ceil(frame_bytes(frame_shape, frame_dtype, compressed=compressed)) + _SCALAR_BYTES


class TransitionRing:
    """Storage of transitions from environments that step together; how to draw is the subclass's.

    A slot can be sampled if a decision was taken there, its successor is already written, and no
    frame of its stack has been overwritten.

    Args:
        num_envs: environments that step together.
        capacity: slots in all, rounded up to the same number for every environment. A game's last
            observation takes a slot too.
        frame_shape: shape of a single frame, ``(84, 84)`` for Atari.
        frame_dtype: ``torch.uint8`` for Atari.
        stack_size: frames in a state: states are ``[stack_size, *frame_shape]``, oldest frame
            first. With 1 there is no stack axis: the frame is the state.
        n_step: decisions between the two states of a transition, fewer where the game ends first.
        compressed: keep each frame compressed, on the CPU; the same batches come out.
        device: where the storage lies and batches are born. What decides which slots can be drawn
            stays on the CPU.

    Raises:
        ValueError: ``capacity`` holds less than a stack and its successor per environment, or
            needs more memory than ``device`` has available.
    """

    def __init__(
        self,
        *,
        num_envs: int,
        capacity: int,
        frame_shape: Sequence[int],
        frame_dtype: torch.dtype,
        stack_size: int,
        n_step: int,
        compressed: bool,
        device: torch.device | str,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        if not 1 <= stack_size <= 254:  # ages are counted up to stack_size, and one on, in uint8
            raise ValueError(f"stack_size={stack_size} must be in 1..254")
        if n_step < 1:
            raise ValueError(f"n_step={n_step} must be at least 1")
        slots = math.ceil(capacity / num_envs)
        if slots < stack_size + n_step:
            raise ValueError(
                f"replay.capacity={capacity} is too small: {num_envs} environments with stacks of "
                f"{stack_size} frames and returns of {n_step} step(s) need at least "
                f"{num_envs * (stack_size + n_step)}"
            )
        self._device = torch.device(device)
        column_bytes = num_envs * bytes_per_transition(
            frame_shape, frame_dtype, compressed=compressed
        )
        available = available_bytes(torch.device("cpu") if compressed else self._device)
        if available is not None and slots * column_bytes > available:
            raise ValueError(
                f"replay.capacity={capacity} needs {slots * column_bytes / 1e9:.2f} GB but "
                f"{available / 1e9:.2f} GB are available on {self._device}: "
                f"set replay.capacity to at most {available // column_bytes * num_envs}"
            )
        self._num_envs = num_envs
        self._slots = slots
        self._frame_shape = tuple(frame_shape)
        self._stack_size = stack_size
        self._n_step = n_step
        self._num_appends = 0
        self._num_transitions = 0

        storage = CompressedFrames if compressed else RawFrames
        self._frames: FrameStorage = storage(
            num_envs, slots, frame_shape, frame_dtype, self._device
        )
        shape = (num_envs, slots)
        self._actions = torch.empty(shape, dtype=torch.int64, device=self._device)
        self._rewards = torch.empty(shape, dtype=torch.float32, device=self._device)
        # What decides which slots can be drawn, in NumPy: a batch needs some thirty operations on
        # so few values that the time to call each is what counts.
        self._is_terminal = np.empty(shape, dtype=np.bool_)
        # Whether a decision was taken in the slot, and how many frames of its game came before it,
        # counted up to stack_size.
        self._is_transition = np.zeros(shape, dtype=np.bool_)
        self._age = np.zeros(shape, dtype=np.uint8)

        # The columns of a transition's frames. Two states one step apart share all but one.
        self._num_frames = stack_size + 1 if n_step == 1 else stack_size
        self._window_offsets = np.arange(self._num_frames) - (stack_size - 1)
        self._step_offsets = np.arange(n_step)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole storage, whether written yet or not; compressed, of what is."""
        return self._frames.nbytes + self._num_envs * self._slots * _SCALAR_BYTES

    @property
    def num_sampleable(self) -> int:
        """Number of transitions that can be sampled now."""
        num_columns = self._num_columns
        if num_columns == 0:
            return 0
        newest = self._slot(np.arange(num_columns, self._size))
        num_without_successor = int(self._is_transition[:, newest].sum())
        k = np.arange(min(self._stack_size - 1, num_columns))
        slot = self._slot(k)
        is_cut = self._is_transition[:, slot] & (self._age[:, slot] > k)
        return self._num_transitions - num_without_successor - int(is_cut.sum())

    @property
    def can_be_sampled(self) -> bool:
        """Whether ``num_sampleable`` is positive, without the counting for all but a few."""
        num_hidden = self._num_envs * (self._n_step + self._stack_size - 1)  # By the ring's ends.
        return self._num_transitions > num_hidden or self.num_sampleable > 0

    def __len__(self) -> int:
        """Number of transitions that can be sampled now."""
        return self.num_sampleable

    @property
    def _size(self) -> int:
        """Columns written and not yet overwritten."""
        return min(self._num_appends, self._slots)

    @property
    def _num_columns(self) -> int:
        """Columns whose successor, ``n_step`` columns on, is written: the oldest ones."""
        return max(self._size - self._n_step, 0)

    def _slot(self, k: IntArray) -> IntArray:
        """Slot of the k-th oldest column."""
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
        # A copy: environments may use the memory of their observations again.
        new_frames = torch.tensor(frames)
        if new_frames.dtype != self._frames.dtype:
            raise TypeError(
                f"frame_tm1 is {new_frames.dtype}, this replay holds {self._frames.dtype}"
            )
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
        self._num_transitions += int(transition.sum()) - int(self._is_transition[:, head].sum())
        self._is_transition[:, head] = transition
        age = np.minimum(self._age[:, newest] + 1, self._stack_size)
        self._age[:, head] = np.where(is_first, 0, age)

        self._frames.write(torch.tensor([head]), new_frames[:, None])
        self._actions[:, head] = torch.tensor(actions, device=self._device)
        self._rewards[:, head] = torch.tensor(rewards, device=self._device)
        self._is_terminal[:, head] = terminal
        self._num_appends += 1

    def _column(
        self, name: str, values: npt.NDArray[np.generic], shape: tuple[int, ...] = ()
    ) -> npt.NDArray[Any]:
        """``values``, checked to be ``[num_envs, *shape]``."""
        column = np.asarray(values)
        if column.shape != (self._num_envs, *shape):
            raise ValueError(
                f"{name} has shape {list(column.shape)}, expected {[self._num_envs, *shape]}"
            )
        return column

    def _is_sampleable(self, env: IntArray, k: IntArray) -> BoolArray:
        """Whether k's decision is a transition whose stack lies in the ring, k < num_columns."""
        slot = self._slot(k)
        num_earlier_frames = np.minimum(self._age[env, slot], self._stack_size - 1)
        return self._is_transition[env, slot] & (num_earlier_frames <= k)

    def _gather(self, env: IntArray, k: IntArray) -> Batch:
        """The transitions at column ``k`` ``[batch]`` of environments ``env`` ``[batch]``."""
        slots = self._slot(k[:, None] + self._step_offsets)  # [batch, n_step]
        is_transition = self._is_transition[env[:, None], slots]
        is_terminal = self._is_terminal[env[:, None], slots]
        # A step belongs to the transition if it is a decision and no earlier one ended the return.
        # (What is no decision is a game's last observation, or one whose outcome was not seen.)
        goes_on = np.logical_and.accumulate(is_transition & ~is_terminal, axis=1)
        is_taken = is_transition
        is_taken[:, 1:] &= goes_on[:, :-1]
        num_steps = is_taken.sum(axis=1)

        index = self._to_device((env * self._slots)[:, None] + slots).flatten()
        rewards = self._rewards.flatten().index_select(0, index).view(slots.shape)
        if self._n_step == 1:
            frames = self._frames_at(env, k)
            s_tm1, s_t, rewards = frames[:, :-1], frames[:, 1:], rewards[:, 0]
        else:
            s_tm1, s_t = self._frames_at(env, k), self._frames_at(env, k + num_steps)
            rewards = rewards * self._to_device(is_taken)
        has_stack_axis = self._stack_size > 1
        return Batch(
            s_tm1=s_tm1 if has_stack_axis else s_tm1[:, 0],
            a_tm1=self._actions.flatten().index_select(0, index[:: self._n_step]),
            r_t=rewards,
            is_terminal_t=self._to_device(np.any(is_terminal & is_taken, axis=1)),
            s_t=s_t if has_stack_axis else s_t[:, 0],
            num_steps=self._to_device(num_steps),
        )

    def _to_device(self, values: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device, non_blocking=True)

    def _frames_at(self, env: IntArray, k: IntArray) -> torch.Tensor:
        """``[batch, num_frames, *frame_shape]``: the stack at ``k``, and what shares its frames."""
        window = self._slot(k[:, None] + self._window_offsets) + (env * self._slots)[:, None]
        num_padding = (self._stack_size - 1) - self._age[env, self._slot(k)].astype(np.int64)
        is_padding = np.arange(self._num_frames) < num_padding[:, None]
        frames = self._frames.gather(torch.from_numpy(window.reshape(-1)))
        if is_padding.any():
            frames.index_fill_(0, self._to_device(np.flatnonzero(is_padding)), 0)
        return frames.view(len(env), self._num_frames, *self._frame_shape)

    @property
    def columns(self) -> range:
        """The columns that are held, numbered from the first append on: what was written in
        column ``n`` never changes, until column ``n + slots`` takes its place."""
        return range(self._num_appends - self._size, self._num_appends)

    def read_frames(self, columns: range) -> torch.Tensor:
        """A copy of the frames of some columns that are held, on the CPU.

        Returns:
            ``[num_envs, len(columns), *frame_shape]``, contiguous: each environment's frames in
            the order of time.
        """
        return self._frames.read(torch.arange(columns.start, columns.stop) % self._slots)

    def write_frames(self, columns: range, frames: torch.Tensor) -> None:
        """Puts back what ``read_frames`` gave, into a ring that ``load_state_dict`` has sized.

        Columns that are no longer held are ignored.
        """
        begin = max(columns.start, self.columns.start)
        if begin >= columns.stop:
            return
        slots = torch.arange(begin, columns.stop) % self._slots
        self._frames.write(slots, frames[:, begin - columns.start :])

    def _ring_state(self, *, with_frames: bool) -> RingState:
        """A copy of the written slots."""
        size = self._size
        state = RingState(
            actions=self._actions[:, :size].clone(),
            rewards=self._rewards[:, :size].clone(),
            is_terminal=torch.tensor(self._is_terminal[:, :size]),
            is_transition=torch.tensor(self._is_transition[:, :size]),
            age=torch.tensor(self._age[:, :size]),
            num_appends=self._num_appends,
            slots=self._slots,
            stack_size=self._stack_size,
            frame_shape=self._frame_shape,
            frame_dtype=self._frames.dtype,
        )
        if with_frames:
            state["frames"] = self._frames.read(torch.arange(size))
        return state

    def _load_ring_state(self, state: RingState) -> None:
        """Takes over the slots of ``state``; ValueError, and nothing loaded, if they do not fit.

        Without frames in it, ``write_frames`` has to bring them.
        """
        size = min(state["num_appends"], self._slots)
        theirs = (state["slots"], state["stack_size"], state["frame_dtype"])
        ours = (self._slots, self._stack_size, self._frames.dtype)
        their_shape = (*state["actions"].shape, *state["frame_shape"])
        our_shape = (self._num_envs, size, *self._frame_shape)
        if theirs != ours or their_shape != our_shape:
            raise ValueError(
                f"the saved replay has (slots, stack_size, dtype) {theirs} and frames "
                f"{their_shape}, this one {ours} and {our_shape}: "
                "replay.capacity and env must be as they were"
            )
        if "frames" in state:
            self._frames.write(torch.arange(size), state["frames"])
        self._actions[:, :size] = state["actions"]
        self._rewards[:, :size] = state["rewards"]
        self._is_terminal[:, :size] = state["is_terminal"].numpy()
        self._is_transition[:, size:] = False
        self._is_transition[:, :size] = state["is_transition"].numpy()
        self._age[:, :size] = state["age"].numpy()
        self._num_appends = state["num_appends"]
        self._num_transitions = int(self._is_transition.sum())

    def check_valid(self) -> None:
        """Recounts by brute force what ``append`` keeps incrementally; for tests.

        Raises:
            RuntimeError: an invariant is broken.
        """
        size, stack_size = self._size, self._stack_size
        slot = self._slot(np.arange(size))
        age = self._age[:, slot].astype(np.int64)
        is_transition = self._is_transition[:, slot]
        ages_on = age[:, 1:] == np.minimum(age[:, :-1] + 1, stack_size)
        if not (ages_on | (age[:, 1:] == 0)).all():
            raise RuntimeError("the age of a frame neither restarts nor goes on by one")
        if (is_transition[:, :-1] & (age[:, 1:] == 0)).any():
            raise RuntimeError("a transition leads into another game")
        if size < self._slots and (age[:, :1] != 0).any():
            raise RuntimeError("the first slot written does not open a game")
        if self._num_transitions != int(self._is_transition.sum()):
            raise RuntimeError("the count of transitions is wrong")
        k = np.tile(np.arange(self._num_columns), self._num_envs)
        env = np.repeat(np.arange(self._num_envs), self._num_columns)
        if self.num_sampleable != int(self._is_sampleable(env, k).sum()):
            raise RuntimeError("the count of sampleable transitions is wrong")
