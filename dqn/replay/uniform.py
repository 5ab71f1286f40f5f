"""Uniform experience replay."""

from collections.abc import Sequence

import numpy as np
import torch

from dqn.replay.ring import RingState, TransitionRing
from dqn.types import Batch


class ReplayState(RingState):
    """What ``UniformReplay.state_dict`` returns; ``torch.load(weights_only=True)`` reads it."""

    generator: torch.Tensor


class UniformReplay(TransitionRing):
    """A ring of transitions, each of which is equally likely to be sampled.

    Uniformity is exact, by rejection: slots are drawn uniformly, and those that cannot be sampled
    are drawn again. Drawing happens on the CPU, so the same seed draws the same transitions on
    every device.

    Args:
        num_envs: environments that step together.
        capacity: slots in all, rounded up to the same number for every environment. A game's last
            observation takes a slot too.
        frame_shape: shape of a single frame, ``(84, 84)`` for Atari.
        frame_dtype: ``torch.uint8`` for Atari.
        stack_size: frames in a state, as in ``TransitionRing``.
        seed: seeds the sampler's own generator.
        n_step: decisions between the two states of a transition, as in ``TransitionRing``.
        compressed: keep each frame compressed, as in ``TransitionRing``.
        device: where the storage lies and batches are born.

    Raises:
        ValueError: ``capacity`` holds less than a stack and its successor per environment, or
            needs more memory than ``device`` has available.

    Example: three frames of one game, hence two transitions.

    >>> import numpy as np
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
        n_step: int = 1,
        compressed: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(
            num_envs=num_envs,
            capacity=capacity,
            frame_shape=frame_shape,
            frame_dtype=frame_dtype,
            stack_size=stack_size,
            n_step=n_step,
            compressed=compressed,
            device=device,
        )
        self._generator = torch.Generator().manual_seed(seed)

    def sample(self, batch_size: int) -> Batch:
        """Draws transitions uniformly, with replacement.

        With ``n_step`` 1, ``s_tm1`` and ``s_t`` are two views of one gather of ``stack_size + 1``
        frames: their common frames are fetched once, and writing into one changes the other.

        Returns:
            A ``Batch`` on the replay's device. States are
            ``[batch_size, stack_size, *frame_shape]`` in ``frame_dtype``, without the stack axis
            where ``stack_size`` is 1; frames before the game's first are zeros.

        Raises:
            ValueError: ``batch_size`` is not positive, or no transition can be sampled yet.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        if not self.can_be_sampled:
            raise ValueError("the replay holds no complete transition yet: append before sampling")
        num_columns = self._index.num_columns
        drawn = np.empty(0, dtype=np.int64)
        while len(drawn) < batch_size:
            candidates = torch.randint(
                self._index.num_envs * num_columns, (2 * batch_size,), generator=self._generator
            ).numpy()
            env, k = np.divmod(candidates, num_columns)
            drawn = np.concatenate([drawn, candidates[self._index.is_sampleable(env, k)]])
        return self._gather(*np.divmod(drawn[:batch_size], num_columns))

    def state_dict(self, *, with_frames: bool = True) -> ReplayState:
        """Everything that decides later samples: the written slots and the generator.

        Args:
            with_frames: copy the frames too. A second copy of a full replay may not fit: whoever
                leaves them out takes them by ``read_frames`` and puts them back by
                ``write_frames``, some columns at a time.
        """
        return ReplayState(
            **self._ring_state(with_frames=with_frames), generator=self._generator.get_state()
        )

    def load_state_dict(self, state_dict: ReplayState) -> None:
        """Continues where the replay that wrote ``state_dict`` stood.

        Raises:
            ValueError: the state is that of a replay of another layout; nothing was loaded.
        """
        self._load_ring_state(state_dict)
        self._generator.set_state(state_dict["generator"])
