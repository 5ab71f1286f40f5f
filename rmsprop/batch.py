"""The tensors that one step works on: parameters, gradients, step counts and states."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(slots=True)
class ParameterBatch:
    """The parameters of one group that have a gradient, as real-valued tensors.

    A complex parameter, its gradient and its states appear as ``torch.view_as_real`` of themselves,
    so that real and imaginary parts have effective learning rates of their own, as in torch.optim.

    Attributes:
        params: what a step writes to.
        grads: parallel to ``params``, of the same shapes; never written to.
        steps: parallel to ``params``; 0-d tensors counting the steps taken.
        states: name -> list parallel to ``params``, of the same shapes: ``square_avg`` always in
            RMSprop, ``grad_avg`` and ``momentum_buffer`` only where the rule has them; ``sum`` in
            Adagrad.

    >>> batch = ParameterBatch(
    ...     params=[torch.zeros(2), torch.zeros(3, dtype=torch.float64), torch.zeros(4)],
    ...     grads=[torch.ones(2), torch.ones(3, dtype=torch.float64), torch.ones(4)],
    ...     steps=[torch.tensor(1.0), torch.tensor(1.0), torch.tensor(5.0)],
    ... )
    >>> [len(part.params) for part in batch.by_device_and_dtype()]
    [2, 1]
    >>> [len(part.params) for part in batch.by_step()]
    [2, 1]
    """

    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    steps: list[Tensor] = field(default_factory=list)
    states: dict[str, list[Tensor]] = field(default_factory=dict)

    def subset(self, indices: list[int]) -> ParameterBatch:
        """The parameters at ``indices``, in that order, with all that belongs to them."""
        return ParameterBatch(
            params=[self.params[index] for index in indices],
            grads=[self.grads[index] for index in indices],
            steps=[self.steps[index] for index in indices],
            states={
                name: [tensors[index] for index in indices] for name, tensors in self.states.items()
            },
        )

    def by_device_and_dtype(self) -> list[ParameterBatch]:
        """The batch in parts that foreach and fused operations can take at once."""
        return self._split((param.device, param.dtype) for param in self.params)

    def by_step(self) -> list[ParameterBatch]:
        """The batch in parts that have taken equally many steps (a None gradient takes none).

        Reads every step back to the host.
        """
        return self._split(step.item() for step in self.steps)

    def with_scaled_grads(self, scale: float) -> ParameterBatch:
        """The batch with every gradient times ``scale``, in new tensors; itself if that is 1."""
        if scale == 1:
            return self
        grads = list(torch._foreach_mul(self.grads, scale))
        return ParameterBatch(self.params, grads, self.steps, self.states)

    def _split(self, keys: Iterable[Hashable]) -> list[ParameterBatch]:
        """One part for each different key, in the order of its first parameter."""
        indices_of_key: dict[Hashable, list[int]] = {}
        for index, key in enumerate(keys):
            indices_of_key.setdefault(key, []).append(index)
        if len(indices_of_key) == 1:
            return [self]
        return [self.subset(indices) for indices in indices_of_key.values()]
