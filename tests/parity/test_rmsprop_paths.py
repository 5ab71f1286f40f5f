"""The foreach, fused and compiled paths against the for-loop: parameters and every state tensor."""

import itertools

import pytest
import torch
from helpers.trajectories import can_fuse
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rmsprop import Adagrad, RMSprop, set_num_threads
from rmsprop.batch import ParameterBatch
from rmsprop.foreach import rmsprop_foreach
from rmsprop.fused import _compiled
from rmsprop.rule import RMSpropHyperparameters

NUM_STEPS = 7
SLOW = {"fused": False, "foreach": False}
# PyTorch's compiler uses functions that PyTorch deprecates.
compiles = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


needs_compiler = pytest.mark.skipif(not can_fuse(), reason="no C++ compiler on this machine")
PATHS = [
    pytest.param({"foreach": True}, id="foreach"),
    pytest.param({"fused": True}, id="fused", marks=needs_compiler),
]

PLACES = [
    {"eps_inside_sqrt": inside, "weight_decay": wd, "decoupled_weight_decay": decoupled}
    for inside, (wd, decoupled) in itertools.product(
        (False, True), ((0.0, False), (0.1, False), (0.1, True))
    )
]
BUFFERS = [
    {"momentum": 0.0},
    {"momentum": 0.9},
    {"momentum": 0.9, "lr_in_momentum": True},
    {"momentum": 0.9, "nesterov": True, "lr_in_momentum": True},
    {"momentum": 0.9, "nesterov": True},
]
AVERAGES = [
    {},
    {"centered": True, "alpha": 0.3},
    {"centered": True, "initial_square_avg": 1.0},
    {"bias_correction": True, "maximize": True, "alpha": 0.9},
]
OPTIONS = [
    {"eps": 1e-3} | place | buffer | average
    for place, buffer, average in itertools.product(PLACES, BUFFERS, AVERAGES)
]


def tensors_of_every_layout(dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return [
        randn(3, 5),
        randn(),
        randn(0),
        randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        randn(2, 3, 2, 2, 2).to(memory_format=torch.channels_last_3d),
        randn(7, 3).t(),
        randn(10, 6)[::2, 1:4],
    ]


def grad_of_another_layout(index: int, step: int, param: Tensor) -> Tensor | None:
    """Noise, laid out contiguously, as the parameter, or with strides of 0; None now and then."""
    if (index + step) % 5 == 4:
        return None
    generator = torch.Generator().manual_seed(1000 * index + step)
    noise = torch.randn(param.shape, generator=generator, dtype=torch.float64).to(param.dtype)
    if step % 3 == 0:
        return torch.empty_like(param).copy_(noise)
    return noise[..., :1].expand(param.shape) if step % 3 == 1 and param.dim() else noise


def states_after(optimizer_class, dtype: torch.dtype, **options):
    params = tensors_of_every_layout(dtype)
    optimizer = optimizer_class(params, **options)
    for step in range(NUM_STEPS):
        for index, param in enumerate(params):
            param.grad = grad_of_another_layout(index, step, param)
        optimizer.step()
    return [(param, optimizer.state[param]) for param in params]


def assert_close(actual, expected, rtol: float) -> None:
    for (param, state), (expected_param, expected_state) in zip(actual, expected, strict=True):
        assert list(state) == list(expected_state)
        torch.testing.assert_close(param, expected_param, rtol=rtol, atol=rtol)
        for key, value in expected_state.items():
            torch.testing.assert_close(state[key], value, rtol=rtol, atol=rtol)


def tolerance(dtype: torch.dtype) -> float:
    """A few units in the last place, after NUM_STEPS steps."""
    return 64 * torch.finfo(dtype).eps


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_setting_of_rmsprop_steps_as_the_for_loop(path, dtype):
    for options in OPTIONS:
        expected = states_after(RMSprop, dtype, **options, fused=False, foreach=False)
        actual = states_after(RMSprop, dtype, **options, **path)
        assert_close(actual, expected, tolerance(dtype))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_every_setting_of_adagrad_steps_as_the_for_loop(path, dtype):
    for inside, wd, decay, maximize in itertools.product(
        (False, True), (0.0, 0.1), (0.0, 0.5), (False, True)
    ):
        options = {
            "eps_inside_sqrt": inside,
            "weight_decay": wd,
            "lr_decay": decay,
            "maximize": maximize,
        }
        expected = states_after(Adagrad, dtype, **options, fused=False, foreach=False)
        actual = states_after(Adagrad, dtype, **options, **path)
        assert_close(actual, expected, tolerance(dtype))


@pytest.mark.parametrize("path", PATHS)
def test_complex_parameters_step_as_in_the_for_loop(path):
    options = {"momentum": 0.9, "centered": True, "eps": 1e-3, "initial_square_avg": 1.0}
    expected = states_after(RMSprop, torch.complex64, **options, fused=False, foreach=False)
    actual = states_after(RMSprop, torch.complex64, **options, **path)
    assert_close(actual, expected, tolerance(torch.complex64))


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fused_step_in_half_precision_is_the_float32_step_rounded_once(dtype):
    options = {"momentum": 0.9, "centered": True, "eps": 1e-2, "weight_decay": 0.1}
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(1000, generator=generator).to(dtype)
    wide = theta.float()
    optimizer = RMSprop([theta], **options, fused=True)
    oracle = RMSprop([wide], **options, fused=False)
    for _ in range(NUM_STEPS):
        theta.grad = torch.randn(1000, generator=generator).to(dtype)
        wide.grad = theta.grad.float()
        for key, value in optimizer.state[theta].items():  # Both start from the rounded state.
            oracle.state[wide][key] = value.float().clone()
        with torch.no_grad():
            wide.copy_(theta)
        optimizer.step()
        oracle.step()
        # Values on the border of two roundings may take either.
        ulp = torch.finfo(dtype).eps
        torch.testing.assert_close(theta, wide.to(dtype), rtol=ulp, atol=1e-7)
        for key, value in optimizer.state[theta].items():
            expected = oracle.state[wide][key].to(value.dtype)
            torch.testing.assert_close(value, expected, rtol=ulp, atol=1e-7)


@needs_compiler
@pytest.mark.parametrize("num_threads", [1, 2, 3, None])
def test_fused_step_covers_tensors_of_many_blocks_on_any_number_of_threads(num_threads):
    sizes = (1, 16_383, 16_384, 16_385, 200_003)
    params = [torch.linspace(-1, 1, size) for size in sizes]
    expected = [param.clone() for param in params]
    optimizers = RMSprop(params, fused=True), RMSprop(expected, fused=False)
    for param, twin in zip(params, expected, strict=True):
        param.grad = twin.grad = torch.cos(torch.arange(param.numel()))
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    set_num_threads(num_threads)
    try:
        for optimizer in optimizers:
            optimizer.step()
    finally:
        set_num_threads(None)
        torch.set_num_threads(torch_threads)
    for param, twin in zip(params, expected, strict=True):
        torch.testing.assert_close(param, twin, rtol=1e-6, atol=1e-7)


magnitude = st.sampled_from([0.0, 1e-38, 1e-20, 1e-6, 1.0, 1e6, 1e18, 1e30, 3e38])
number = st.one_of(
    st.builds(lambda m, s: m * s, magnitude, st.sampled_from([-1.0, 1.0, 0.7])),
    st.sampled_from([torch.inf, -torch.inf, torch.nan]),
)


@st.composite
def layouts(draw):
    """A function from a seed to a tensor: some shape, its dimensions permuted, steps in between."""
    shape = draw(st.lists(st.integers(0, 5), max_size=5))
    order = draw(st.permutations(range(len(shape))))
    stride = draw(st.sampled_from([1, 1, 2]))

    def randn(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        tensor = torch.randn([n * stride for n in shape], generator=generator)
        return tensor[tuple(slice(None, None, stride) for _ in shape)].permute(order)

    return randn


@pytest.mark.parametrize("path", PATHS)
@settings(deadline=None, max_examples=100)
@given(randn=layouts(), contiguous=st.booleans(), options=st.sampled_from(OPTIONS))
def test_every_layout_steps_as_in_the_for_loop(path, randn, contiguous, options):
    params = [randn(0), randn(0)]
    optimizers = RMSprop(params[:1], **options, **path), RMSprop(params[1:], **options, **SLOW)
    for seed in (1, 2):
        grad = randn(seed).contiguous() if contiguous else randn(seed)
        for param, optimizer in zip(params, optimizers, strict=True):
            param.grad = grad
            optimizer.step()
    actual, expected = (
        [(param, optimizer.state[param])]
        for param, optimizer in zip(params, optimizers, strict=True)
    )
    assert_close(actual, expected, tolerance(torch.float32))


@pytest.mark.parametrize("path", PATHS)
@example(  # Found once: a second step that takes the first one back, up to its last bit.
    theta=[0.0] * 9,
    grads=[[0.0] * 8 + [1e6], [0.0] * 8 + [-1e18]],
    options={
        "eps_inside_sqrt": False,
        "weight_decay": 0.1,
        "decoupled_weight_decay": False,
        "momentum": 0.0,
        "centered": True,
        "initial_square_avg": 1.0,
    },
    eps=0.0,
)
@settings(deadline=None, max_examples=200)
@given(
    theta=st.lists(number, min_size=9, max_size=9),
    grads=st.lists(st.lists(number, min_size=9, max_size=9), min_size=1, max_size=3),
    options=st.sampled_from(OPTIONS),
    eps=st.sampled_from([0.0, 1e-30, 1e-8, 1.0]),
)
def test_extreme_magnitudes_step_as_in_the_for_loop(path, theta, grads, options, eps):
    options = options | {"eps": eps}
    params = [torch.tensor(theta) for _ in range(2)]
    optimizers = RMSprop(params[:1], **options, **path), RMSprop(params[1:], **options, **SLOW)
    reached = params[1].abs()
    for row in grads:
        for param, optimizer in zip(params, optimizers, strict=True):
            param.grad = torch.tensor(row)
            optimizer.step()
        reached = torch.maximum(reached, params[1].abs())
    fast, slow = (optimizer.state[p] for p, optimizer in zip(params, optimizers, strict=True))
    # Rounding is relative to the largest value on the way: two steps may cancel to nothing but it.
    bound = 1e-37 + 1e-5 * torch.where(reached.isfinite(), reached, 0.0)
    same = (params[0] == params[1]) | (params[0].isnan() & params[1].isnan())
    assert (same | ((params[0] - params[1]).abs() <= bound)).all(), (params, bound)
    for key, value in slow.items():
        torch.testing.assert_close(fast[key], value, rtol=1e-5, atol=1e-37, equal_nan=True)


@needs_compiler
def test_default_path_on_the_cpu_is_the_fused_one_for_float32_and_float64_only(monkeypatch):
    taken = []
    for name in ("_for_loop", "_foreach", "_fused"):
        monkeypatch.setattr(RMSprop, name, lambda self, *args, name=name: taken.append(name))
    params = [
        torch.ones(1, dtype=dtype)
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.complex64)
    ]
    for param in params:
        param.grad = torch.ones_like(param)
    RMSprop(params).step()
    assert sorted(taken) == ["_for_loop", "_fused", "_fused"]
    for path, expected in [
        ({"fused": False}, "_for_loop"),
        ({"foreach": False}, "_for_loop"),
        ({"foreach": True}, "_foreach"),
        ({"fused": True}, "_fused"),
        ({"differentiable": True}, "_for_loop"),
    ]:
        taken.clear()
        RMSprop(params, **path).step()
        assert set(taken) == {expected}, path


@needs_compiler
def test_a_state_of_another_dtype_is_never_handed_to_the_fused_step():
    # As after `model.double()` with the optimizer already made.
    param = torch.ones(3)
    optimizer = RMSprop([param], lr=0.1, alpha=0.9)
    param.grad = torch.ones(3)
    optimizer.step()
    optimizer.state[param]["square_avg"] = optimizer.state[param]["square_avg"].double()
    optimizer.step()
    assert optimizer.state[param]["square_avg"].dtype == torch.float64
    expected = 1 - 0.1 / 0.1**0.5 - 0.1 / 0.19**0.5
    torch.testing.assert_close(param, torch.full((3,), expected))
    optimizer.param_groups[0]["fused"] = True
    with pytest.raises(RuntimeError, match=r"state torch\.float64"):
        optimizer.step()


@needs_compiler
def test_fused_step_reads_a_lazily_negated_gradient_with_its_sign():
    param = torch.ones(3)
    param.grad = torch.complex(torch.zeros(3), torch.ones(3)).conj().imag  # -1, by a flag
    assert param.grad.is_neg()
    RMSprop([param], lr=0.1, alpha=0.0, fused=True).step()
    torch.testing.assert_close(param, torch.full((3,), 1.1))


@needs_compiler
def test_autograd_notices_that_the_fused_step_changed_a_saved_parameter():
    weight = torch.ones(3, requires_grad=True)
    loss = (weight**2).sum()
    loss.backward(retain_graph=True)
    RMSprop([weight], fused=True).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.slow
@compiles
@pytest.mark.parametrize("options", [{}, {"centered": True, "momentum": 0.9, "weight_decay": 0.1}])
def test_compiled_step_agrees_with_the_for_loop(options):
    params = [torch.linspace(-1, 1, 40).view(5, 8), torch.ones(3)]
    expected = [param.clone() for param in params]
    optimizer, oracle = RMSprop(params, **options), RMSprop(expected, **options, **SLOW)
    compiled = torch.compile(optimizer.step)
    for step in range(4):
        for param, twin in zip(params, expected, strict=True):
            param.grad = twin.grad = torch.sin(param + step)
        compiled()
        oracle.step()
    for param, twin in zip(params, expected, strict=True):
        torch.testing.assert_close(param, twin, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@compiles
@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.9, "nesterov": True, "lr_in_momentum": True, "eps_inside_sqrt": True},
        {"bias_correction": True, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
)
def test_what_is_compiled_for_cuda_agrees_with_the_for_loop_and_compiles_once(options):
    # On the CPU, so that it is tested on every machine.
    params = [torch.linspace(-1, 1, 40).view(5, 8), torch.ones(3)]
    expected = [param.clone() for param in params]
    oracle = RMSprop(expected, **options, **SLOW)
    steps, states = [torch.zeros(()) for _ in params], ["square_avg"]
    if "momentum" in options:
        states.append("momentum_buffer")
    states = {name: [torch.zeros_like(param) for param in params] for name in states}
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    for step in range(4):
        lr = 0.1 / (1 + step)
        grads = [torch.sin(param + step) for param in expected]
        hyper = RMSpropHyperparameters(lr=torch.tensor(lr), alpha=0.99, **({"eps": 1e-8} | options))
        _compiled(rmsprop_foreach)(ParameterBatch(params, grads, steps, states), hyper)
        oracle.param_groups[0]["lr"] = lr
        for twin, grad in zip(expected, grads, strict=True):
            twin.grad = grad
        oracle.step()
        for param, twin in zip(params, expected, strict=True):
            torch.testing.assert_close(param, twin, rtol=1e-5, atol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
