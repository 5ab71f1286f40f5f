"""Experience replay: a ring that keeps transitions, and a sampler that draws them."""

from collections.abc import Mapping
from typing import Any

import torch

from dqn.replay.ring import TransitionRing
from dqn.replay.samplers import SAMPLERS, Sampler
from dqn.types import Batch, BoolArray, FloatArray, IntArray, ObservationArray


class Replay:
    """What the training loop and a checkpoint see of ring and sampler.

    Args:
        ring: where transitions are kept.
        sampler: draws them.

    Example: one game of two agent steps; the second one's successor is not written yet.

    >>> import numpy as np
    >>> from dqn.replay.samplers import UniformSampler
    >>> ring = TransitionRing(num_envs=1, capacity=8, frame_shape=(1,), frame_dtype=torch.float32,
    ...                       stack_size=1)
    >>> replay = Replay(ring, UniformSampler(seed=0))
    >>> yes, no = np.array([True]), np.array([False])
    >>> for step in range(2):
    ...     replay.append(frame_tm1=np.float32([[step]]), is_first_tm1=yes if step == 0 else no,
    ...                   action_tm1=np.array([step]), reward_t=np.float32([step]),
    ...                   is_terminal_t=no, is_transition=yes)
    >>> len(replay), replay.sample(2).s_tm1.tolist()
    (1, [[0.0], [0.0]])
    """

    def __init__(self, ring: TransitionRing, sampler: Sampler) -> None:
        self._ring = ring
        self._sampler = sampler

    def __len__(self) -> int:
        """Number of transitions that can be sampled now."""
        return self._ring.num_sampleable

    @property
    def nbytes(self) -> int:
        """Bytes of the ring, as ``TransitionRing.nbytes``."""
        return self._ring.nbytes

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
        """Write one agent step of every environment, as ``TransitionRing.append``."""
        self._ring.append(
            frame_tm1=frame_tm1,
            is_first_tm1=is_first_tm1,
            action_tm1=action_tm1,
            reward_t=reward_t,
            is_terminal_t=is_terminal_t,
            is_transition=is_transition,
        )
        self._sampler.appended(self._ring.index)

    def sample(self, batch_size: int) -> Batch:
        """Transitions that the sampler draws, as ``TransitionRing.gather``.

        Raises:
            ValueError: ``batch_size`` is not positive, or no transition can be sampled yet.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        if not self._ring.index.can_be_sampled:
            raise ValueError("the replay holds no complete transition yet: append before sampling")
        return self._ring.gather(*self._sampler.draw(self._ring.index, batch_size))

    def update_priorities(self, batch: Batch, priorities: torch.Tensor) -> None:
        """Tell the sampler what a loss has said of a batch that was sampled here.

        Args:
            batch: its ``slots`` count.
            priorities: ``[batch]``, not negative.
        """
        assert batch.slots is not None
        self._sampler.update(batch.slots, priorities)

    @property
    def columns(self) -> range:
        """The columns that are held, as ``TransitionRing.columns``."""
        return self._ring.columns

    def read_frames(self, columns: range) -> torch.Tensor:
        """A copy of the frames of some columns, as ``TransitionRing.read_frames``."""
        return self._ring.read_frames(columns)

    def write_frames(self, columns: range, frames: torch.Tensor) -> None:
        """Put back what ``read_frames`` gave."""
        self._ring.write_frames(columns, frames)

    def state_dict(self, *, with_frames: bool = True) -> dict[str, Any]:
        """Everything that decides later samples, of the ring and of the sampler.

        Args:
            with_frames: copy the frames too. A second copy of a full replay may not fit: whoever
                leaves them out takes them by ``read_frames`` and puts them back by
                ``write_frames``, some columns at a time.
        """
        return {**self._ring.state_dict(with_frames=with_frames), **self._sampler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the replay that wrote ``state`` stood.

        Raises:
            ValueError: the state is that of a replay of another layout; nothing was loaded.
        """
        self._ring.load_state_dict(state)
        self._sampler.load_state_dict(state)


def build_sampler(options: Mapping[str, object], *, seed: int) -> Sampler:
    """The registered sampler ``options["kind"]`` with the options of that kind.

    Raises:
        ValueError: an option is out of range.
    """
    keywords = {name: value for name, value in options.items() if name != "kind"}
    return SAMPLERS[str(options["kind"])](seed, **keywords)
