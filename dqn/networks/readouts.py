"""Readouts: what a stream's numbers say about the actions' values."""

from typing import ClassVar, Protocol

from torch import Tensor

from dqn.networks.outputs import QOutput, QValues


class Readout(Protocol):
    """A map from a stream's ``[batch, num_actions * num_outputs]`` to a ``QOutput``.

    Attributes:
        num_outputs: numbers that it needs of an action.
    """

    @property
    def num_outputs(self) -> int: ...

    def __call__(self, outputs: Tensor) -> QOutput: ...


class Scalar:
    """The number itself is the action's value (Mnih et al. 2015).

    >>> import torch
    >>> Scalar()(torch.tensor([[0.5, -1.0]])).q_values
    tensor([[ 0.5000, -1.0000]])
    """

    num_outputs: ClassVar[int] = 1

    def __call__(self, outputs: Tensor) -> QValues:
        """Values ``[batch, num_actions]``."""
        return QValues(q_values=outputs)
