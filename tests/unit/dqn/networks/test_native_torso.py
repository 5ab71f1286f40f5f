"""The compiled torso against PyTorch's layers in double precision."""

import copy
import subprocess
from functools import partial

import pytest
import torch
import yaml
from helpers.playing import q_network

import rmsprop.build
from dqn.agent import DQN
from dqn.config import CONFIG_DIR
from dqn.losses.td import QLearning
from dqn.networks import native
from dqn.networks.native import torso as native_torso
from dqn.networks.torsos import MinAtarCNN, NatureCNN, NipsCNN
from dqn.run.assembly import build_optimizer
from dqn.types import Batch

if native.unavailable_reason() is not None:
    pytest.skip(f"no native torso: {native.unavailable_reason()}", allow_module_level=True)

needs_bfloat16 = pytest.mark.skipif(
    not native.has_bfloat16(), reason="this processor does not multiply in bfloat16 (AVX512_BF16)"
)
# MinAtar's games have 4 to 10 channels, Freeway 7: odd, where pairs are multiplied.
SHAPES = {
    "nature": (4, 84, 84),
    "nips": (4, 84, 84),
    "minatar": (4, 10, 10),
    "freeway": (7, 10, 10),
}
TORSOS = {"nature": NatureCNN, "nips": NipsCNN, "minatar": MinAtarCNN, "freeway": MinAtarCNN}


@pytest.fixture(autouse=True)
def one_thread():
    yield
    rmsprop.set_num_threads(None)


def screens(batch, frames=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (batch, frames, 84, 84), dtype=torch.uint8, generator=generator)


def observations(name, batch):
    """As the network of this name sees them: grey levels, or MinAtar's zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    levels = 256 if SHAPES[name][1] == 84 else 2
    return torch.randint(levels, (batch, *SHAPES[name]), dtype=torch.uint8, generator=generator)


def pair(name, memory_format=torch.channels_last):
    """A native torso, and a double-precision copy made of PyTorch's layers."""
    ours = TORSOS[name](SHAPES[name], implementation="native").to(memory_format=memory_format)
    reference = TORSOS[name](SHAPES[name], implementation="torch").double()
    reference.load_state_dict(ours.state_dict())
    return ours, reference


def features_and_gradients(torso, observation, direction):
    torso.zero_grad()
    features = torso(observation)
    features.backward(direction.to(features.dtype))
    return features.detach(), [parameter.grad for parameter in torso.parameters()]


def relative_error(actual, expected):
    actual, expected = actual.detach().double(), expected.detach()
    return float((actual - expected).norm() / expected.norm())


def reference_gradients(reference, observation, direction):
    reference.zero_grad()
    features = reference.layers(observation.double() / reference.pixel_max)
    features.backward(direction.double())
    return features.detach(), [parameter.grad for parameter in reference.parameters()]


@pytest.mark.parametrize("name", TORSOS)
@pytest.mark.parametrize("batch", [1, 3, 32, 33])
def test_features_and_gradients_are_those_of_the_layers(name, batch):
    ours, reference = pair(name)
    observation = observations(name, batch)
    direction = torch.randn(batch, ours.num_features)
    features, gradients = features_and_gradients(ours, observation, direction)
    expected, expected_gradients = reference_gradients(reference, observation, direction)
    assert relative_error(features, expected) < 1e-6
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert gradient.shape == expected_gradient.shape
        # Sums of up to 13,200 products in float32; a ReLU that rounds to the other side costs more.
        assert relative_error(gradient, expected_gradient) < 1e-4


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_weights_may_lie_in_either_format(memory_format):
    ours, reference = pair("nips", memory_format)
    observation, direction = screens(2), torch.randn(2, 256)
    _, gradients = features_and_gradients(ours, observation, direction)
    _, expected = reference_gradients(reference, observation, direction)
    assert gradients[0].stride() == next(ours.parameters()).stride()
    for gradient, expected_gradient in zip(gradients, expected, strict=True):
        assert relative_error(gradient, expected_gradient) < 1e-4


@pytest.mark.parametrize("name", TORSOS)
@pytest.mark.parametrize("bfloat16", [False, pytest.param(True, marks=needs_bfloat16)])
def test_results_are_the_same_bits_for_any_number_of_threads(name, bfloat16):
    ours, _ = pair(name)
    observation, direction = observations(name, 5), torch.randn(5, ours.num_features)
    results = []
    for num_threads in (1, 2, 3):
        rmsprop.set_num_threads(num_threads)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            results.append(features_and_gradients(ours, observation, direction))
    for features, gradients in results[1:]:
        assert torch.equal(features, results[0][0])
        assert all(map(torch.equal, gradients, results[0][1]))


@needs_bfloat16
@pytest.mark.parametrize("name", TORSOS)
def test_bfloat16_is_as_accurate_as_autocast(name):
    # Most of the error is ReLUs that rounding has switched, more here or there by chance: of six
    # networks together.
    errors, autocast_errors = torch.zeros(2), torch.zeros(2)
    for seed in range(6):
        torch.manual_seed(seed)
        ours, reference = pair(name)
        layers = TORSOS[name](SHAPES[name], implementation="torch")
        layers.load_state_dict(ours.state_dict())
        observation, direction = observations(name, 8), torch.randn(8, ours.num_features)
        exact, exact_gradients = reference_gradients(reference, observation, direction)
        for torso, total in ((ours, errors), (layers, autocast_errors)):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                features, gradients = features_and_gradients(torso, observation, direction)
            total[0] += relative_error(features, exact)
            total[1] += sum(map(relative_error, gradients, exact_gradients))
    assert errors[0] > 6e-4  # it does round
    assert (errors < 1.15 * autocast_errors).all()


def test_stacks_that_are_views_of_one_gather_are_taken_in_place():
    ours, _ = pair("nips")
    frames = screens(3, frames=5)
    assert torch.equal(ours(frames[:, 1:]), ours(frames[:, 1:].clone()))
    assert torch.equal(ours(frames[:, :-1]), ours(frames[:, :-1].clone()))


def test_changed_weights_are_seen():
    ours, reference = pair("nips")
    observation = screens(2)
    before = ours(observation)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.mul_(0.5)
    reference.load_state_dict(ours.state_dict())
    after = ours(observation)
    assert not torch.equal(before, after)
    assert relative_error(after, reference.layers(observation.double() / 255)) < 1e-6


def optimizer_files():
    return sorted((CONFIG_DIR / "optimizer").glob("*.yaml"))


@pytest.mark.parametrize("file", optimizer_files(), ids=lambda file: file.stem)
def test_every_optimizer_is_seen_to_learn(file):
    # PyTorch's fused optimizers change weights without changing their versions.
    ours, reference = (
        q_network(partial(MinAtarCNN, implementation=implementation), (4, 10, 10), 3)
        for implementation in ("native", "torch")
    )
    agent = DQN(
        network=ours,
        target_network=copy.deepcopy(ours),
        optimizer=build_optimizer(yaml.safe_load(file.read_text()), ours),
        num_actions=3,
        loss=QLearning(error_bound=1.0),
        reduction="sum",
        max_grad_norm=None,
        double_q_learning=False,
        discount=0.9,
        reward_clip=None,
        target_update_period_updates=1000,
        exploration_seed=0,
        device=torch.device("cpu"),
        autocast_dtype=None,
        compiled=False,
    )
    observation = observations("minatar", 8)
    batch = Batch(
        s_tm1=observation,
        a_tm1=torch.arange(8) % 3,
        r_t=torch.ones(8),
        is_terminal_t=torch.ones(8, dtype=torch.bool),
        s_t=observation,
        num_steps=torch.ones(8, dtype=torch.int64),
    )
    before = ours(observation).q_values
    for _ in range(5):
        agent.learn(batch)
    after = ours(observation).q_values
    assert not torch.equal(after, before)
    # PyTorch's layers keep nothing: what the weights say now.
    reference.load_state_dict(ours.state_dict())
    torch.testing.assert_close(after, reference(observation).q_values)


def test_weights_changed_between_forward_and_backward_are_refused():
    ours, _ = pair("nips")
    features = ours(screens(2))
    with torch.no_grad():
        ours.layers.linear.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        features.sum().backward()


def test_two_forward_passes_may_wait_for_their_backward_passes():
    ours, reference = pair("nips")
    first, second = screens(2, seed=1), screens(2, seed=2)
    ours.zero_grad()
    features = ours(first), ours(second)
    (features[0].sum() + features[1].square().sum()).backward()
    expected = reference.layers(first.double() / 255), reference.layers(second.double() / 255)
    (expected[0].sum() + expected[1].square().sum()).backward()
    for parameter, twin in zip(ours.parameters(), reference.parameters(), strict=True):
        assert relative_error(parameter.grad, twin.grad) < 1e-4


def test_a_second_backward_pass_is_refused_in_words():
    ours, _ = pair("nips")
    loss = ours(screens(2)).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="for one call only"):
        loss.backward()


def test_a_copied_network_does_not_share_weights_with_the_first():
    torso = partial(NipsCNN, implementation="native")
    network = q_network(torso, (4, 84, 84), 3)
    observation = screens(2)
    before = network(observation).q_values
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(twin(observation).q_values, before)
    assert not network(observation).q_values.any()


@torch.no_grad()
def test_weights_that_are_computed_anew_are_never_taken_for_the_last_ones():
    # What noise on weights does: each draw is a fresh tensor, at the address of the last one and
    # in the same version.
    shape = native.TorsoShape(4, 10, 1.0, (16,), (3,), (1,), 128)
    torso, reference = native.NativeTorso(shape), MinAtarCNN((4, 10, 10), implementation="torch")
    parameters = list(reference.parameters())
    observation, addresses = observations("minatar", 4), set()
    for draw in range(4):
        noisy = parameters[2] * (1.0 + draw)
        addresses.add((noisy.data_ptr(), noisy._version))
        features = torso(observation, [*parameters[:2], noisy, parameters[3]], bfloat16=False)
        del noisy
        hidden = reference.layers.conv1(observation.float()).relu().flatten(1)
        expected = (hidden @ (parameters[2] * (1.0 + draw)).T + parameters[3]).relu()
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    if len(addresses) == 4:
        pytest.skip("the allocator gave every draw an address of its own")


def test_weights_are_laid_out_once_for_as_long_as_nobody_writes_them(monkeypatch):
    ours, _ = pair("minatar")
    packed = []
    library = ours._native._library
    monkeypatch.setattr(
        library, "torso_pack", lambda *arguments, f=library.torso_pack: packed.append(f(*arguments))
    )
    observation = observations("minatar", 4)
    for _ in range(3):
        ours(observation).sum().backward()
        with torch.no_grad():
            ours(observation)
    assert len(packed) == 1
    native.note_written(tuple(ours.parameters()))
    ours(observation)
    assert len(packed) == 2


@pytest.mark.parametrize(
    "observation",
    [
        screens(2).float(),
        screens(2)[..., ::2, :],
        torch.zeros(2, 4, 84, 84, dtype=torch.uint8).transpose(2, 3),
        screens(2, frames=3),
        screens(0),
    ],
    ids=["float", "half a screen", "transposed", "three frames", "nothing"],
)
def test_what_it_cannot_take_it_does_not_claim(observation):
    torso = native.NativeTorso(native.TorsoShape(4, 84, 255.0, (16, 32), (8, 4), (4, 2), 256))
    parameters = list(NipsCNN((4, 84, 84)).parameters())
    assert torso.supports(screens(2), parameters, bfloat16=False)
    assert not torso.supports(observation, parameters, bfloat16=False)


def test_a_linear_weight_with_other_strides_goes_through_the_layers():
    ours, reference = pair("nips")
    linear = ours.layers.linear
    linear.weight = torch.nn.Parameter(linear.weight.data.t().contiguous().t())
    observation = screens(2)
    assert relative_error(ours(observation), reference.layers(observation.double() / 255)) < 1e-6


@pytest.mark.parametrize("name", ["nature", "minatar"])
@pytest.mark.parametrize("bfloat16", [False, pytest.param(True, marks=needs_bfloat16)])
@torch.no_grad()
def test_nan_is_not_hidden_by_a_relu(name, bfloat16):
    ours, _ = pair(name)
    observation = observations(name, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        for parameter in ours.parameters():
            kept = parameter.clone()
            parameter[(0,) * parameter.dim()] = float("nan")
            assert ours(observation).isnan().any()
            parameter.copy_(kept)
        assert ours(observation).isfinite().all()


def test_memory_for_a_backward_pass_is_taken_only_where_one_may_come():
    ours, _ = pair("nips")
    with torch.no_grad():
        ours(screens(2))
    assert [key[2] for key in ours._native._workspaces] == [rmsprop.get_num_threads()]


def test_float_screens_go_through_the_layers():
    ours, reference = pair("nips")
    observation = screens(2).float()
    assert relative_error(ours(observation), reference.layers(observation.double() / 255)) < 1e-6


def test_num_threads_must_be_positive():
    with pytest.raises(ValueError, match="num_threads=0 must be at least 1"):
        rmsprop.set_num_threads(0)


def test_a_missing_compiler_is_named_where_native_was_asked_for(monkeypatch):
    monkeypatch.setattr("dqn.networks.torsos.unavailable_reason", lambda: "no C++ compiler found")
    with pytest.raises(
        ValueError, match=r"network.torso.implementation=native: no C\+\+ compiler found"
    ):
        NatureCNN((4, 84, 84), implementation="native")


@pytest.mark.parametrize("flags", [(), ("-mavx2", "-mfma")], ids=["portable", "avx2"])
def test_builds_for_other_processors_compute_the_same(flags, monkeypatch, tmp_path):
    cpu = "".join(rmsprop.build._processor().split("\n"))
    if flags and not {"avx2", "fma"} <= set(cpu.split()):
        pytest.skip("this processor has no AVX2")
    monkeypatch.setenv("RMSPROP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(rmsprop.build, "_VARIANTS", (flags,))
    native_torso._library.cache_clear()
    try:
        ours, reference = pair("nature")
        observation, direction = screens(5), torch.randn(5, 512)
        features, gradients = features_and_gradients(ours, observation, direction)
    finally:
        native_torso._library.cache_clear()
    expected, expected_gradients = reference_gradients(reference, observation, direction)
    assert relative_error(features, expected) < 1e-6
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert relative_error(gradient, expected_gradient) < 1e-4


def test_the_source_compiles_without_a_warning():
    command = [rmsprop.build._compiler(), *rmsprop.build._FLAGS, *native_torso._FLAGS]
    command += ["-march=native", f"-I{rmsprop.build._HEADERS[0].parent}"]
    command += ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(native_torso._SOURCE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
