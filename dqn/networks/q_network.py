"""The Q-network: a torso, a stream and a readout, joined.

Torsos know the observations, streams the actions, readouts what a value is made of. So a dueling
network is another stream, a distributional one another readout, and both together need no class.
"""

import torch
from torch import nn

from dqn.networks.outputs import QOutput
from dqn.networks.readouts import Readout
from dqn.networks.streams import Stream
from dqn.networks.torsos import Torso


class QNetwork(nn.Module):
    """``observation -> torso -> stream -> readout``.

    Args:
        torso: from observations to features.
        stream: from features to ``readout.num_outputs`` numbers an action.
        readout: from these numbers to values.

    >>> from dqn.networks.readouts import Scalar
    >>> from dqn.networks.streams import LinearStream
    >>> from dqn.networks.torsos import NatureCNN
    >>> torso = NatureCNN((4, 84, 84))
    >>> stream = LinearStream(torso.num_features, num_actions=4, num_outputs=Scalar.num_outputs)
    >>> network = QNetwork(torso, stream, Scalar())
    >>> sum(parameter.numel() for parameter in network.parameters())
    1686180
    """

    def __init__(self, torso: Torso, stream: Stream, readout: Readout) -> None:
        super().__init__()
        self.torso = torso
        # Parameters are called head.* in checkpoints, tags and published curves.
        self.head = stream
        self._readout = readout

    def forward(self, observation: torch.Tensor) -> QOutput:
        """Values of every action at observations ``[batch, *observation_shape]``."""
        return self._readout(self.head(self.torso(observation)))
