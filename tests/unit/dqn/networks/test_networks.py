"""Q-networks: sizes counted by hand, initial weights against Lua Torch's rule."""

import math
from functools import partial

import pytest
import torch
from helpers.playing import q_network
from torch import nn

from dqn.networks.q_network import QNetwork
from dqn.networks.readouts import Scalar
from dqn.networks.registry import build_q_network
from dqn.networks.streams import LinearStream, Stream
from dqn.networks.torsos import MLP, MinAtarCNN, NatureCNN, NipsCNN, Torso

SCREENS = (4, 84, 84)


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("num_actions", "expected"), [(4, 1_686_180), (18, 1_693_362)])
def test_nature_network_has_the_hand_counted_number_of_parameters(
    num_actions: int, expected: int
) -> None:
    # conv 4*8*8*32+32, 32*4*4*64+64, 64*3*3*64+64; linear 3136*512+512, 512*A+A
    by_hand = 8224 + 32_832 + 36_928 + 1_606_144 + 513 * num_actions
    network = q_network(NatureCNN, SCREENS, num_actions)
    assert _num_parameters(network) == expected == by_hand


def test_nips_network_has_the_hand_counted_number_of_parameters() -> None:
    # conv 4*8*8*16+16, 16*4*4*32+32; linear 2592*256+256, 256*4+4
    by_hand = 4112 + 8224 + 663_808 + 1028
    network = q_network(NipsCNN, SCREENS, 4)
    assert _num_parameters(network) == by_hand == 677_172


def test_minatar_network_is_its_papers() -> None:
    # Breakout, 4 channels, 6 actions: conv 4*3*3*16+16; linear 16*8*8*128+128, 128*6+6
    network = q_network(MinAtarCNN, (4, 10, 10), 6)
    assert _num_parameters(network) == 592 + 131_200 + 774
    planes = torch.randint(2, (2, 4, 10, 10), dtype=torch.uint8)
    layers = network.torso.layers
    by_hand = layers.linear(layers.conv1(planes.float()).relu().flatten(1)).relu()
    torch.testing.assert_close(network.torso(planes), by_hand)
    with pytest.raises(ValueError, match=r"network=minatar_cnn needs .* gives \[4, 84, 84\]"):
        MinAtarCNN(SCREENS)


@pytest.mark.parametrize("torso", [NatureCNN, NipsCNN])
def test_weights_and_biases_start_uniform_within_one_over_root_fan_in(torso: type[Torso]) -> None:
    torch.manual_seed(0)
    network = q_network(torso, SCREENS, 18)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) >= 4
    for layer in layers:
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert layer.bias is not None
        for parameter in (layer.weight, layer.bias):
            values = parameter.detach().flatten() / bound
            assert values.abs().max() <= 1 + 1e-6
            # A uniform variable on [-1, 1] has mean 0 and variance 1/3.
            assert abs(values.mean()) < 4 / math.sqrt(3 * len(values))
            assert abs(values.square().mean() - 1 / 3) < 4 * math.sqrt(4 / 45 / len(values))


@pytest.mark.parametrize("torso", [NatureCNN, NipsCNN])
def test_screens_are_divided_by_255_and_nothing_else(torso: type[Torso]) -> None:
    torch.manual_seed(1)
    fitted = torso(SCREENS)
    screens = torch.randint(256, (2, *SCREENS), dtype=torch.uint8)
    by_hand = screens.to(torch.float32).mul(1 / 255)
    for layer in fitted.layers:
        by_hand = layer(by_hand)
    torch.testing.assert_close(fitted(screens), by_hand)


def test_layers_agree_with_convolutions_written_out() -> None:
    torch.manual_seed(2)
    torso = NatureCNN(SCREENS).double()
    screens = torch.randint(256, (1, *SCREENS), dtype=torch.uint8).double()
    x = screens / 255
    convolutions = [layer for layer in torso.layers if isinstance(layer, nn.Conv2d)]
    for layer, (size, stride, width) in zip(
        convolutions, [(8, 4, 20), (4, 2, 9), (3, 1, 7)], strict=True
    ):
        patches = x.unfold(2, size, stride).unfold(3, size, stride)
        x = torch.einsum("bchwij,ocij->bohw", patches, layer.weight)
        x = (x + layer.bias[None, :, None, None]).relu()
        assert x.shape[2:] == (width, width)
    hidden = torso.layers[7]
    expected = (hidden.weight @ x.flatten() + hidden.bias).relu()
    torch.testing.assert_close(torso(screens)[0], expected)


def test_mlp_flattens_and_alternates_linear_and_relu() -> None:
    torso = MLP((2, 3), hidden_sizes=(5, 4))
    kinds = [type(layer) for layer in torso.layers]
    assert kinds == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU]
    assert torso(torch.ones(7, 2, 3)).shape == (7, 4)
    assert torso.num_features == 4
    assert _num_parameters(torso) == 6 * 5 + 5 + 5 * 4 + 4


def test_channels_last_gives_the_same_values() -> None:
    torch.manual_seed(3)
    network = q_network(NatureCNN, SCREENS, 6)
    screens = torch.randint(256, (3, *SCREENS), dtype=torch.uint8)
    expected = network(screens).q_values
    network = network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(screens).q_values, expected)


def test_bf16_autocast_computes_the_torso_in_bf16_and_the_values_in_float32() -> None:
    torch.manual_seed(4)
    torso = partial(NatureCNN, implementation="torch")
    network = q_network(torso, SCREENS, 6)
    network = network.to(memory_format=torch.channels_last)
    screens = torch.randint(256, (3, *SCREENS), dtype=torch.uint8)
    expected = network(screens).q_values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = network.torso(screens)
        q_values = network(screens).q_values
    assert features.dtype == torch.bfloat16
    assert q_values.dtype == torch.float32
    assert not torch.equal(q_values, q_values.bfloat16().float())  # not rounded at the end either
    torch.testing.assert_close(q_values, expected, rtol=0.05, atol=0.01)
    q_values.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_states_that_are_views_of_one_gather_are_accepted() -> None:
    network = q_network(NipsCNN, SCREENS, 3)
    frames = torch.randint(256, (2, 5, 84, 84), dtype=torch.uint8)
    torch.testing.assert_close(
        network(frames[:, 1:]).q_values, network(frames[:, 1:].clone()).q_values
    )


def test_another_stream_is_a_value() -> None:
    class Dueling(Stream):
        def __init__(self, num_features: int, num_actions: int) -> None:
            super().__init__()
            self.value = nn.Linear(num_features, 1)
            self.advantage = nn.Linear(num_features, num_actions)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            advantage = self.advantage(features)
            return self.value(features) + advantage - advantage.mean(1, keepdim=True)

    network = QNetwork(MLP((4,), hidden_sizes=(8,)), Dueling(8, 2), Scalar())
    assert network(torch.zeros(5, 4)).q_values.shape == (5, 2)


def test_parameters_are_named_torso_and_head() -> None:
    network = QNetwork(MLP((4,), hidden_sizes=(8,)), LinearStream(8, 2, 1), Scalar())
    assert [name for name, _ in network.named_parameters()] == [
        "torso.layers.linear1.weight",
        "torso.layers.linear1.bias",
        "head.linear.weight",
        "head.linear.bias",
    ]


@pytest.mark.parametrize("observation_shape", [(4,), (4, 64, 84), (1, 4, 84, 84)])
def test_observations_that_are_no_screens_are_refused_in_one_line(
    observation_shape: tuple[int, ...],
) -> None:
    for name, torso in (("nature_cnn", NatureCNN), ("nips_cnn", NipsCNN)):
        with pytest.raises(ValueError, match=f"network={name} needs image .* use network=mlp$"):
            q_network(torso, observation_shape, 2)


@pytest.mark.parametrize("hidden_sizes", [(), (4, 0)])
def test_mlp_without_units_is_refused(hidden_sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="hidden_sizes="):
        MLP((4,), hidden_sizes=hidden_sizes)


def test_network_without_actions_is_refused() -> None:
    with pytest.raises(ValueError, match="num_actions=0"):
        build_q_network(
            torso={"kind": "nature_cnn"},
            stream={"kind": "linear"},
            readout={"kind": "scalar"},
            observation_shape=SCREENS,
            num_actions=0,
        )
