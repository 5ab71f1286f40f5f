"""Streams: from features to the numbers that a readout takes for the actions' values."""

import torch
from torch import nn


class Stream(nn.Module):
    """A map from features ``[batch, num_features]`` to ``[batch, num_actions * num_outputs]``.

    The outputs of one action lie side by side.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``num_outputs`` numbers of every action, float32 under autocast too."""
        raise NotImplementedError


class LinearStream(Stream):
    """One linear layer: the last one of the Nature agent.

    Args:
        num_features: width of the torso's output.
        num_actions: size of the action set.
        num_outputs: numbers that the readout needs of an action.

    >>> LinearStream(512, num_actions=4, num_outputs=1)(torch.zeros(2, 512)).shape
    torch.Size([2, 4])
    """

    def __init__(self, num_features: int, num_actions: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, num_actions * num_outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[batch, num_actions * num_outputs]`` of features ``[batch, num_features]``."""
        # Not under autocast: in bf16 a value near 10 is a multiple of 1/16, coarser than the
        # differences between actions that the greedy policy and the TD error live on.
        outputs: torch.Tensor
        if not torch.is_autocast_enabled(features.device.type):
            outputs = self.linear(features)
            return outputs
        with torch.autocast(features.device.type, enabled=False):
            outputs = self.linear(features.to(self.linear.weight.dtype))
        return outputs
