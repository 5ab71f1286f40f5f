"""The ring of single frames that every replay stores its transitions in.

A state is a stack of the last ``stack_size`` frames, and two neighbouring states share all frames
but one. So the ring stores single frames and rebuilds the stacks on demand, as the Nature agent
did (google-deepmind/dqn, ``dqn/TransitionTable.lua``): 7,071 bytes per Atari transition, where
storing both stacks costs 56,461. Unlike there, a stack never mixes frames from the two sides of
the write head.

Which slots hold what, and which can be sampled, is ``index.py``'s.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import torch

from dqn.replay.frames import CompressedFrames, FrameStorage, RawFrames, frame_bytes
from dqn.replay.index import RingIndex
from dqn.system.memory import available_bytes
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
    """Storage of transitions from environments that step together.

    A slot can be sampled if an agent step was taken there, its successor is already written, and no
    frame of its stack has been overwritten (``RingIndex``).

    Args:
        num_envs: environments that step together.
        capacity: slots in all, rounded up to the same number for every environment. A game's last
            observation takes a slot too.
        frame_shape: shape of a single frame, ``(84, 84)`` for Atari.
        frame_dtype: ``torch.uint8`` for Atari.
        stack_size: frames in a state: states are ``[stack_size, *frame_shape]``, oldest frame
            first. With 1 there is no stack axis: the frame is the state.
        n_step: agent steps between the two states of a transition, fewer where the game ends first.
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
        n_step: int = 1,
        compressed: bool = False,
        device: torch.device | str = "cpu",
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
        self.index = RingIndex(num_envs=num_envs, slots=slots, stack_size=stack_size, n_step=n_step)
        self._frame_shape = tuple(frame_shape)
        storage = CompressedFrames if compressed else RawFrames
        self._frames: FrameStorage = storage(
            num_envs, slots, frame_shape, frame_dtype, self._device
        )
        shape = (num_envs, slots)
        self._actions = torch.empty(shape, dtype=torch.int64, device=self._device)
        self._rewards = torch.empty(shape, dtype=torch.float32, device=self._device)

        # The columns of a transition's frames. Two states one step apart share all but one.
        self._num_frames = stack_size + 1 if n_step == 1 else stack_size
        self._window_offsets = np.arange(self._num_frames) - (stack_size - 1)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole storage, whether written yet or not; compressed, of what is."""
        return self._frames.nbytes + self._actions.numel() * _SCALAR_BYTES

    @property
    def num_sampleable(self) -> int:
        """Number of transitions that can be sampled now."""
        return self.index.num_sampleable

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
        """Writes one agent step of every environment.

        A game that opens without the last one having been closed (an environment reset by hand, a
        run resumed without its environments) cuts that game: its last agent step, whose outcome was
        never observed, is not sampled.

        Args:
            frame_tm1: ``[num_envs, *frame_shape]`` newest frame of ``s_tm1``, in ``frame_dtype``.
            is_first_tm1: ``[num_envs]`` bool, the frame opens a game.
            action_tm1: ``[num_envs]`` the action chosen there.
            reward_t: ``[num_envs]`` the raw reward it brought.
            is_terminal_t: ``[num_envs]`` bool, the return ended with it (discount 0).
            is_transition: ``[num_envs]`` bool, whether it was an agent step: False at a game's
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
        if self.index.num_appends == 0 and not is_first.all():
            raise ValueError("is_first_tm1 must be true in every environment at the first append")

        head = self.index.head
        self._frames.write(torch.tensor([head]), new_frames[:, None])
        self._actions[:, head] = torch.tensor(actions, device=self._device)
        self._rewards[:, head] = torch.tensor(rewards, device=self._device)
        # Last: what could not be written is not counted.
        self.index.append(is_first=is_first, is_transition=transition, is_terminal=terminal)

    def _column(
        self, name: str, values: npt.NDArray[np.generic], shape: tuple[int, ...] = ()
    ) -> npt.NDArray[Any]:
        """``values``, checked to be ``[num_envs, *shape]``."""
        column = np.asarray(values)
        expected = (self.index.num_envs, *shape)
        if column.shape != expected:
            raise ValueError(f"{name} has shape {list(column.shape)}, expected {list(expected)}")
        return column

    def gather(self, env: IntArray, k: IntArray, weights: FloatArray | None) -> Batch:
        """The transitions at column ``k`` ``[batch]`` of environments ``env`` ``[batch]``.

        With ``n_step`` 1, ``s_tm1`` and ``s_t`` are two views of one gather of ``stack_size + 1``
        frames: their common frames are fetched once, and writing into one changes the other.

        Args:
            env: environments.
            k: columns, counted from the oldest one; ``RingIndex.is_sampleable`` of both.
            weights: ``[batch]``, handed on, or None.

        Returns:
            A ``Batch`` on the ring's device. States are ``[batch, stack_size, *frame_shape]`` in
            ``frame_dtype``, without the stack axis where ``stack_size`` is 1; frames before the
            game's first are zeros.
        """
        steps, n_step = self.index.steps(env, k), self.index.n_step
        flat = self._flat(env, steps.slots)
        index = self._to_device(flat).flatten()
        rewards = self._rewards.flatten().index_select(0, index).view(steps.slots.shape)
        if n_step == 1:
            frames = self._frames_at(env, k)
            s_tm1, s_t, rewards = frames[:, :-1], frames[:, 1:], rewards[:, 0]
        else:
            s_tm1, s_t = self._frames_at(env, k), self._frames_at(env, k + steps.num_steps)
            rewards = rewards * self._to_device(steps.is_taken)
        has_stack_axis = self.index.stack_size > 1
        return Batch(
            s_tm1=s_tm1 if has_stack_axis else s_tm1[:, 0],
            a_tm1=self._actions.flatten().index_select(0, index[::n_step]),
            r_t=rewards,
            is_terminal_t=self._to_device(steps.is_terminal),
            s_t=s_t if has_stack_axis else s_t[:, 0],
            num_steps=self._to_device(steps.num_steps),
            weights=None if weights is None else self._to_device(weights),
            slots=torch.from_numpy(flat[:, 0]),
        )

    def _flat(self, env: IntArray, slots: IntArray) -> IntArray:
        """Where slots ``[batch, n]`` of environments ``[batch]`` lie in a flattened storage."""
        return (env * self.index.slots)[:, None] + slots

    def _to_device(self, values: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device, non_blocking=True)

    def _frames_at(self, env: IntArray, k: IntArray) -> torch.Tensor:
        """``[batch, num_frames, *frame_shape]``: the stack at ``k``, and what shares its frames."""
        window = self._flat(env, self.index.slot(k[:, None] + self._window_offsets))
        is_padding = np.arange(self._num_frames) < self.index.num_padding(env, k)[:, None]
        frames = self._frames.gather(torch.from_numpy(window.reshape(-1)))
        if is_padding.any():
            frames.index_fill_(0, self._to_device(np.flatnonzero(is_padding)), 0)
        return frames.view(len(env), self._num_frames, *self._frame_shape)

    @property
    def columns(self) -> range:
        """The columns that are held, numbered from the first append on: what was written in
        column ``n`` never changes, until column ``n + slots`` takes its place."""
        num_appends = self.index.num_appends
        return range(num_appends - self.index.size, num_appends)

    def read_frames(self, columns: range) -> torch.Tensor:
        """A copy of the frames of some columns that are held, on the CPU.

        Returns:
            ``[num_envs, len(columns), *frame_shape]``, contiguous: each environment's frames in
            the order of time.
        """
        return self._frames.read(torch.arange(columns.start, columns.stop) % self.index.slots)

    def write_frames(self, columns: range, frames: torch.Tensor) -> None:
        """Puts back what ``read_frames`` gave, into a ring that ``load_state_dict`` has sized.

        Columns that are no longer held are ignored.
        """
        begin = max(columns.start, self.columns.start)
        if begin >= columns.stop:
            return
        slots = torch.arange(begin, columns.stop) % self.index.slots
        self._frames.write(slots, frames[:, begin - columns.start :])

    def state_dict(self, *, with_frames: bool) -> RingState:
        """A copy of the written slots, as ``torch.load(weights_only=True)`` reads them."""
        index, size = self.index, self.index.size
        state = RingState(
            actions=self._actions[:, :size].clone(),
            rewards=self._rewards[:, :size].clone(),
            is_terminal=torch.tensor(index.is_terminal[:, :size]),
            is_transition=torch.tensor(index.is_transition[:, :size]),
            age=torch.tensor(index.age[:, :size]),
            num_appends=index.num_appends,
            slots=index.slots,
            stack_size=index.stack_size,
            frame_shape=self._frame_shape,
            frame_dtype=self._frames.dtype,
        )
        if with_frames:
            state["frames"] = self._frames.read(torch.arange(size))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the slots of a ``RingState``; ``write_frames`` brings frames it is without.

        Raises:
            ValueError: the state is that of a ring of another layout; nothing was loaded.
        """
        index = self.index
        size = min(state["num_appends"], index.slots)
        theirs = (state["slots"], state["stack_size"], state["frame_dtype"])
        ours = (index.slots, index.stack_size, self._frames.dtype)
        their_shape = (*state["actions"].shape, *state["frame_shape"])
        our_shape = (index.num_envs, size, *self._frame_shape)
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
        index.load(
            num_appends=state["num_appends"],
            is_terminal=state["is_terminal"].numpy(),
            is_transition=state["is_transition"].numpy(),
            age=state["age"].numpy(),
        )
