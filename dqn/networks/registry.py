"""The parts of networks by the names that configurations use.

What a part's constructor takes by keyword only is its configuration; the rest is the wiring's.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

from dqn.networks.q_network import QNetwork
from dqn.networks.readouts import Readout, Scalar
from dqn.networks.streams import LinearStream, Stream
from dqn.networks.torsos import MLP, MinAtarCNN, NatureCNN, NipsCNN, Torso

Options: TypeAlias = Mapping[str, object]
Part = TypeVar("Part")

TORSOS: Mapping[str, Callable[..., Torso]] = {
    "nature_cnn": NatureCNN,
    "nips_cnn": NipsCNN,
    "minatar_cnn": MinAtarCNN,
    "mlp": MLP,
}
STREAMS: Mapping[str, Callable[..., Stream]] = {"linear": LinearStream}
READOUTS: Mapping[str, Callable[..., Readout]] = {"scalar": Scalar}


def build_q_network(
    *,
    torso: Options,
    stream: Options,
    readout: Options,
    observation_shape: tuple[int, ...],
    num_actions: int,
) -> QNetwork:
    """A network of registered parts, drawn from PyTorch's global generator.

    Args:
        torso: its ``kind`` and the options of that kind.
        stream: the same.
        readout: the same.
        observation_shape: of a single observation, without the batch.
        num_actions: size of the action set.

    Raises:
        ValueError: the observations do not fit the torso, an option is out of range, or there is
            no action.

    >>> network = build_q_network(
    ...     torso={"kind": "mlp", "hidden_sizes": [8]},
    ...     stream={"kind": "linear"}, readout={"kind": "scalar"},
    ...     observation_shape=(4,), num_actions=2)
    >>> [name for name, _ in network.named_parameters()]
    ['torso.layers.linear1.weight', 'torso.layers.linear1.bias', 'head.linear.weight', \
'head.linear.bias']
    """
    if num_actions < 1:
        raise ValueError(f"num_actions={num_actions} must be at least 1")
    built_torso: Torso = _build(TORSOS, torso, observation_shape)
    built_readout: Readout = _build(READOUTS, readout)
    built_stream: Stream = _build(
        STREAMS, stream, built_torso.num_features, num_actions, built_readout.num_outputs
    )
    return QNetwork(built_torso, built_stream, built_readout)


def _build(registry: Mapping[str, Callable[..., Part]], options: Options, *given: object) -> Part:
    keywords = {name: value for name, value in options.items() if name != "kind"}
    return registry[str(options["kind"])](*given, **keywords)
