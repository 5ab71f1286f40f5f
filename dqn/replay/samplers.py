"""Samplers: which of a ring's transitions an update learns from, and how much each counts."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np
import torch

from dqn.replay.index import RingIndex
from dqn.types import FloatArray, IntArray


class Draws(NamedTuple):
    """What a sampler has drawn.

    Attributes:
        env: ``[batch]`` int64, environments.
        k: ``[batch]`` int64, columns, counted from the oldest one of the ring.
        weights: ``[batch]`` float32, or None where every transition counts once.
    """

    env: IntArray
    k: IntArray
    weights: FloatArray | None


class Sampler(Protocol):
    """Draws transitions that ``RingIndex.is_sampleable``; it must be asked for at least one."""

    def appended(self, index: RingIndex) -> None:
        """Learn that the ring has a new column, the one before ``index.head``."""

    def draw(self, index: RingIndex, batch_size: int) -> Draws:
        """``batch_size`` transitions of a ring that ``can_be_sampled``."""

    def update(self, slots: torch.Tensor, priorities: torch.Tensor) -> None:
        """Learn the priorities ``[batch]`` that the transitions at ``slots`` now have."""

    def state_dict(self) -> Any:
        """Everything that decides later draws."""

    def load_state_dict(self, state: Any) -> None:
        """Continue where the sampler that wrote ``state`` stood."""


class UniformSamplerState(TypedDict):
    """What ``UniformSampler.state_dict`` returns."""

    generator: torch.Tensor


class UniformSampler:
    """Every transition is equally likely, with replacement (Mnih et al. 2015).

    Uniformity is exact, by rejection: slots are drawn uniformly, and those that cannot be sampled
    are drawn again. Drawing happens on the CPU, so the same seed draws the same transitions on
    every device.

    Args:
        seed: of the sampler's own generator.
    """

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def appended(self, index: RingIndex) -> None:
        """Nothing: a new transition is as likely as any other."""

    def draw(self, index: RingIndex, batch_size: int) -> Draws:
        """``batch_size`` transitions, none of which counts more than another."""
        num_columns = index.num_columns
        drawn = np.empty(0, dtype=np.int64)
        while len(drawn) < batch_size:
            candidates = torch.randint(
                index.num_envs * num_columns, (2 * batch_size,), generator=self._generator
            ).numpy()
            env, k = np.divmod(candidates, num_columns)
            drawn = np.concatenate([drawn, candidates[index.is_sampleable(env, k)]])
        return Draws(*np.divmod(drawn[:batch_size], num_columns), weights=None)

    def update(self, slots: torch.Tensor, priorities: torch.Tensor) -> None:
        """Nothing: priorities do not count."""

    def state_dict(self) -> UniformSamplerState:
        """Where the generator stands."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: UniformSamplerState) -> None:
        """Put the generator where ``state`` says."""
        self._generator.set_state(state["generator"])


# By the names that configurations use. What a constructor takes by keyword only is configuration.
SAMPLERS: Mapping[str, Callable[..., Sampler]] = {"uniform": UniformSampler}
