"""Q-networks: a torso that turns observations into features, and a head that values actions.

Torsos know the observations, heads know the actions, and ``QNetwork`` only joins them. So a
dueling or distributional network is another head, not another network.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import nn

from dqn.networks.torsos import ObservationShape, Torso, TorsoFactory


class QNetworkOutput(NamedTuple):
    """What every head returns.

    Attributes:
        q_values: ``[batch, num_actions]`` float32, under autocast too.
    """

    q_values: torch.Tensor


class Head(nn.Module):
    """A map from features ``[batch, num_features]`` to a ``QNetworkOutput``."""

    def forward(self, features: torch.Tensor) -> QNetworkOutput:
        """Values of every action."""
        raise NotImplementedError


HeadFactory: TypeAlias = Callable[[int, int], Head]


class LinearHead(Head):
    """One linear layer, an output per action: the head of the Nature agent.

    >>> LinearHead(512, 4)(torch.zeros(2, 512)).q_values.shape
    torch.Size([2, 4])
    """

    def __init__(self, num_features: int, num_actions: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, num_actions)

    def forward(self, features: torch.Tensor) -> QNetworkOutput:
        """Values ``[batch, num_actions]`` of features ``[batch, num_features]``."""
        # Not under autocast: in bf16 a value near 10 is a multiple of 1/16, coarser than the
        # differences between actions that the greedy policy and the TD error live on.
        if not torch.is_autocast_enabled(features.device.type):
            return QNetworkOutput(q_values=self.linear(features))
        with torch.autocast(features.device.type, enabled=False):
            q_values = self.linear(features.to(self.linear.weight.dtype))
        return QNetworkOutput(q_values=q_values)


class QNetwork(nn.Module):
    """A torso and a head."""

    def __init__(self, torso: Torso, head: Head) -> None:
        super().__init__()
        self.torso = torso
        self.head = head

    def forward(self, observation: torch.Tensor) -> QNetworkOutput:
        """Values of every action at observations ``[batch, *observation_shape]``."""
        output: QNetworkOutput = self.head(self.torso(observation))
        return output


def build_q_network(
    *,
    torso: TorsoFactory,
    observation_shape: ObservationShape,
    num_actions: int,
    head: HeadFactory = LinearHead,
) -> QNetwork:
    """Joins a torso that fits the observations and a head that fits the actions.

    Args:
        torso: builds the torso from an observation shape: ``NatureCNN``, ``NipsCNN``, or
            ``functools.partial(MLP, hidden_sizes=...)``.
        observation_shape: of a single observation, without the batch.
        num_actions: outputs of the head.
        head: builds the head from the torso's width and ``num_actions``.

    Raises:
        ValueError: the observations do not fit the torso, or there is no action.

    >>> from dqn.networks.torsos import NatureCNN
    >>> network = build_q_network(torso=NatureCNN, observation_shape=(4, 84, 84), num_actions=4)
    >>> sum(parameter.numel() for parameter in network.parameters())
    1686180
    """
    if num_actions < 1:
        raise ValueError(f"num_actions={num_actions} must be at least 1")
    fitted_torso = torso(observation_shape)
    return QNetwork(fitted_torso, head(fitted_torso.num_features, num_actions))
