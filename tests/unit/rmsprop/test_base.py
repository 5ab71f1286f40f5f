"""RMSprop and Adagrad inside PyTorch: schedulers, hooks, state_dicts, AMP, autograd, capture."""

import copy
import io
import pickle

import pytest
import torch
from helpers.trajectories import can_fuse
from torch import Tensor

from rmsprop import Adagrad, RMSprop, effective_learning_rates

BOTH = pytest.mark.parametrize("optimizer_class", [RMSprop, Adagrad])
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def quadratic_step(optimizer: torch.optim.Optimizer, param: Tensor, scale: float = 1.0) -> None:
    param.grad = scale * param.detach().clone()
    optimizer.step()


@BOTH
@pytest.mark.parametrize("path", [{}, {"foreach": True}, {"fused": False}])
def test_a_learning_rate_in_a_tensor_steps_as_the_same_number(optimizer_class, path):
    numbers, tensors = torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 5)
    optimizers = (
        optimizer_class([numbers], lr=0.1, weight_decay=0.1, **path),
        optimizer_class([tensors], lr=torch.tensor([0.1]), weight_decay=0.1, **path),
    )
    for _ in range(5):
        for param, optimizer in zip((numbers, tensors), optimizers, strict=True):
            quadratic_step(optimizer, param)
    torch.testing.assert_close(numbers, tensors, rtol=1e-6, atol=0)


def test_a_learning_rate_in_a_tensor_is_read_anew_at_every_step():
    lr, param = torch.tensor(0.1), torch.ones(1)
    optimizer = RMSprop([param], lr=lr)
    lr.fill_(0.0)
    quadratic_step(optimizer, param)
    assert param.item() == 1.0


@BOTH
@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    ],
)
def test_schedulers_set_the_rate_of_the_next_step(optimizer_class, scheduler):
    param = torch.ones(1)
    optimizer = optimizer_class([param], lr=0.1)
    schedule = scheduler(optimizer)
    quadratic_step(optimizer, param)
    schedule.step()
    rate = effective_learning_rates(optimizer)["0.0"].item()
    assert schedule.get_last_lr()[0] < 0.1
    before = param.item()
    param.grad = torch.zeros(1)  # Keeps Adagrad's sum; RMSprop's average decays by alpha.
    optimizer.step()
    assert param.item() == before
    quadratic_step(optimizer, param)
    assert 0 < (before - param.item()) / before < rate * 1.2


def test_one_cycle_schedule_finds_a_momentum_to_cycle():
    optimizer = RMSprop([torch.ones(1)], momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    optimizer.step()
    schedule.step()
    assert 0.85 <= optimizer.param_groups[0]["momentum"] < 0.95


@BOTH
def test_hooks_run_before_and_after_the_step(optimizer_class):
    param, seen = torch.ones(1), []
    optimizer = optimizer_class([param])
    optimizer.register_step_pre_hook(lambda *_: seen.append(param.item()))
    optimizer.register_step_post_hook(lambda *_: seen.append(param.item()))
    quadratic_step(optimizer, param)
    assert seen[0] == 1.0
    assert seen[1] == param.item() < 1.0


@BOTH
@pytest.mark.parametrize("path", [{}, {"fused": False}, {"foreach": True}])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_continue_the_run_on_their_own(optimizer_class, path, copied):
    param = torch.nn.Parameter(torch.linspace(-1, 1, 5))
    optimizer = optimizer_class([("theta", param)], lr=0.1, **path)
    quadratic_step(optimizer, param)
    twin = copied(optimizer)
    [twin_param] = twin.param_groups[0]["params"]
    assert twin.defaults == optimizer.defaults
    for _ in range(3):
        quadratic_step(optimizer, param)
        quadratic_step(twin, twin_param)
    assert twin_param is not param
    assert torch.equal(twin_param, param)
    assert list(effective_learning_rates(twin)) == ["theta"]


@BOTH
def test_state_dict_goes_through_a_weights_only_file(optimizer_class):
    param = torch.linspace(-1, 1, 5)
    optimizer = optimizer_class([param], lr=0.1, weight_decay=0.1)
    quadratic_step(optimizer, param)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    twin_param = param.clone()
    twin = optimizer_class([twin_param])
    twin.load_state_dict(torch.load(file, weights_only=True))
    quadratic_step(optimizer, param)
    quadratic_step(twin, twin_param)
    assert torch.equal(twin_param, param)


@BOTH
def test_states_of_old_releases_load(optimizer_class):
    param = torch.ones(2)
    optimizer = optimizer_class([param])
    quadratic_step(optimizer, param)
    state_dict = optimizer.state_dict()
    for group in state_dict["param_groups"]:
        for key in ("foreach", "fused", "capturable", "differentiable", "maximize"):
            del group[key]
    state_dict["state"][0]["step"] = 1  # A number before torch 1.12.
    twin = optimizer_class([param.clone()])
    twin.load_state_dict(state_dict)
    [twin_param] = twin.param_groups[0]["params"]
    quadratic_step(twin, twin_param)
    assert twin.state[twin_param]["step"].item() == 2.0
    assert twin.param_groups[0]["fused"] is None


def test_momentum_and_centring_switched_on_late_start_from_zero():
    param = torch.ones(1, dtype=torch.float64)
    optimizer = RMSprop([param], alpha=0.5, lr=1.0, eps=0.0)
    param.grad = torch.ones_like(param)
    optimizer.step()
    optimizer.param_groups[0].update(momentum=0.9, centered=True)
    before = param.item()
    optimizer.step()
    # square_avg 0.5 -> 0.75, grad_avg 0 -> 0.5: g / sqrt(0.75 - 0.25)
    assert before - param.item() == pytest.approx(1 / 0.5**0.5, rel=1e-14)
    assert optimizer.state[param]["momentum_buffer"].item() == pytest.approx(2**0.5, rel=1e-14)


def test_groups_of_different_dialects_step_side_by_side():
    inside, outside = torch.ones(1), torch.ones(1)
    optimizer = RMSprop([{"params": [inside], "eps_inside_sqrt": True}, {"params": [outside]}])
    optimizer.param_groups[0].update(alpha=0.0, eps=3.0, lr=1.0)
    optimizer.param_groups[1].update(alpha=0.0, eps=3.0, lr=1.0)
    inside.grad, outside.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    assert (inside.item(), outside.item()) == (0.5, 0.75)


def test_a_parameter_joins_later_with_add_param_group():
    first, second = torch.ones(1), torch.ones(1)
    optimizer = RMSprop([("first", first)], alpha=0.0)
    optimizer.add_param_group({"params": [("second", second)], "lr": 0.5})
    first.grad, second.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    assert second.item() == pytest.approx(0.5)
    assert list(effective_learning_rates(optimizer)) == ["first", "second"]


@BOTH
@pytest.mark.parametrize("path", [{}, {"foreach": True}, {"fused": False}])
def test_parameters_of_mixed_dtypes_share_a_group_and_keep_their_dtype(optimizer_class, path):
    dtypes = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64]
    params = [torch.ones(3, dtype=dtype) for dtype in dtypes]
    optimizer = optimizer_class(params, lr=0.1, **path)
    for param in params:
        param.grad = torch.full_like(param, 1)
    optimizer.step()
    for param in params:
        state = optimizer.state[param]
        assert {value.dtype for key, value in state.items() if key != "step"} == {param.dtype}
        assert param.real.float().mean() < 1.0


@BOTH
@pytest.mark.parametrize("path", [{"fused": True}, {"fused": None}])
def test_grad_scaler_on_the_cpu_steps_as_without_it_and_skips_on_overflow(optimizer_class, path):
    if path["fused"] and not can_fuse():
        pytest.skip("no C++ compiler on this machine")
    scaled, plain = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer, oracle = optimizer_class([scaled], **path), optimizer_class([plain], fused=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for factor in (1.0, 2.0, float("inf"), -1.0):
        scaler.scale((factor * scaled).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if factor != float("inf"):
            plain.grad = torch.full((3,), factor)
            oracle.step()
    torch.testing.assert_close(scaled, plain, rtol=1e-6, atol=0)
    assert optimizer.state[scaled]["step"].item() == 3.0


@BOTH
@pytest.mark.parametrize("path", [{"fused": None}, {"fused": False}, {"foreach": True}])
def test_gradients_are_unscaled_in_groups_that_do_not_take_the_fused_step(optimizer_class, path):
    # GradScaler asks the optimizer as a whole, which was made with fused=True.
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = optimizer_class([{"fused": False, "params": [param], **path}], fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale((0.5 * param).sum()).backward()
    scaler.step(optimizer)
    squares = optimizer.state[param]
    total = 0.25 if "sum" in squares else (1 - 0.99) * 0.25
    square = squares["sum" if "sum" in squares else "square_avg"]
    torch.testing.assert_close(square, torch.full((3,), total), rtol=1e-6, atol=0)


@pytest.mark.parametrize("path", [{"fused": False}, {"foreach": True}])
def test_a_lazily_conjugated_gradient_is_read_with_its_sign(path):
    param = torch.ones(2, dtype=torch.complex64)
    param.grad = torch.full((2,), 1 + 1j).conj()
    assert param.grad.is_conj()
    RMSprop([param], lr=0.1, alpha=0.0, **path).step()
    torch.testing.assert_close(param, torch.full((2,), 0.9 + 0.1j))


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("path", [{}, {"fused": False}, {"foreach": True}])
@pytest.mark.parametrize(
    ("grad", "square_avg", "moved"),
    [
        (torch.nan, torch.nan, torch.nan),
        (torch.inf, torch.inf, torch.nan),  # inf / inf
        (-torch.inf, torch.inf, torch.nan),
        (1e30, torch.inf, 0.0),  # Its square overflows, its quotient does not.
    ],
)
def test_a_gradient_that_is_not_finite_or_overflows_spoils_its_own_element_for_good(
    grad, square_avg, moved, path, centered
):
    param, clean = torch.ones(2), torch.ones(1)
    optimizers = [RMSprop([p], lr=0.1, centered=centered, **path) for p in (param, clean)]
    for first in (grad, 1.0, 1.0):
        param.grad, clean.grad = torch.tensor([first, 1.0]), torch.ones(1)
        for optimizer in optimizers:
            optimizer.step()
    state = optimizers[0].state[param]["square_avg"]
    torch.testing.assert_close(state[0].item(), square_avg, equal_nan=True)
    torch.testing.assert_close(param[0].item(), 1 - moved, equal_nan=True)
    torch.testing.assert_close(param[1:], clean, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"centered": True, "momentum": 0.9, "weight_decay": 0.1, "maximize": True},
        {"eps_inside_sqrt": True, "momentum": 0.9, "nesterov": True, "lr_in_momentum": True},
        {"bias_correction": True, "decoupled_weight_decay": True, "weight_decay": 0.1},
    ],
)
def test_a_differentiable_step_has_the_gradient_of_finite_differences(options):
    def stepped(param, grad, square_avg, momentum_buffer, grad_avg, lr):
        # The optimizer writes in place, which autograd forbids on the leaves themselves.
        param = param.clone()
        param.grad = grad
        optimizer = RMSprop([param], differentiable=True, alpha=0.9, eps=1e-2, **options)
        optimizer.param_groups[0]["lr"] = lr
        state = {"step": torch.zeros(()), "square_avg": square_avg.clone()}
        if options.get("momentum"):
            state["momentum_buffer"] = momentum_buffer.clone()
        if options.get("centered"):
            state["grad_avg"] = grad_avg.clone()
        optimizer.state[param] = state
        optimizer.step()
        return (param, *(value for key, value in state.items() if key != "step"))

    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand(4, dtype=torch.float64, generator=generator) for _ in range(5)]
    inputs[4] *= 0.1  # Small against the root of square_avg, so that the variance is positive.
    inputs.append(torch.tensor(0.1, dtype=torch.float64))
    assert torch.autograd.gradcheck(stepped, [value.requires_grad_() for value in inputs])


def test_parameters_without_gradient_are_left_alone_and_no_gradient_at_all_is_no_step():
    param = torch.ones(1)
    optimizer = RMSprop([param])
    optimizer.step()
    assert (param.item(), dict(optimizer.state)) == (1.0, {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_steps_are_counted_in_float64_if_that_is_the_default_dtype_else_in_float32(dtype):
    counted = {}
    before = torch.get_default_dtype()
    for default in (torch.float64, torch.float32, torch.bfloat16):
        torch.set_default_dtype(default)
        try:
            param = torch.ones(1, dtype=dtype)
            optimizer = RMSprop([param], foreach=False)
            quadratic_step(optimizer, param)
            counted[default] = optimizer.state[param]["step"].dtype
        finally:
            torch.set_default_dtype(before)
    assert list(counted.values()) == [torch.float64, torch.float32, torch.float32]


def test_optimizer_prints_its_settings():
    assert "eps_inside_sqrt: False" in repr(RMSprop([torch.ones(1)]))


@pytest.mark.gpu
@needs_cuda
@BOTH
@pytest.mark.parametrize("path", [{}, {"foreach": False}, {"fused": True}])
def test_steps_on_cuda_agree_with_the_cpu(optimizer_class, path):
    on_cpu = torch.linspace(-1, 1, 1000)
    on_cuda = on_cpu.cuda()
    optimizers = optimizer_class([on_cpu], fused=False), optimizer_class([on_cuda], **path)
    for _ in range(5):
        quadratic_step(optimizers[0], on_cpu)
        quadratic_step(optimizers[1], on_cuda)
    torch.testing.assert_close(on_cuda.cpu(), on_cpu, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize(
    "options", [{"momentum": 0.9, "centered": True}, {"bias_correction": True}]
)
def test_a_captured_step_replays_as_eager_steps_with_the_rate_changed_between(options, foreach):
    param = torch.linspace(-1, 1, 1000, device="cuda")
    eager_param = param.clone()
    lr = torch.tensor(0.1, device="cuda")
    optimizer = RMSprop([param], lr=lr, capturable=True, foreach=foreach, **options)
    eager = RMSprop([eager_param], lr=0.1, fused=False, **options)
    grads = [torch.cos(torch.arange(1000, device="cuda") + i) for i in range(8)]
    param.grad = grads[0].clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for i in range(3):
            param.grad.copy_(grads[i])
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for i in range(3, 8):
        lr.fill_(0.1 / i)
        param.grad.copy_(grads[i])
        graph.replay()
    for i in range(8):
        eager.param_groups[0]["lr"] = 0.1 if i < 3 else 0.1 / i
        eager_param.grad = grads[i]
        eager.step()
    torch.testing.assert_close(param, eager_param, rtol=1e-5, atol=1e-6)
    assert optimizer.state[param]["step"].item() == 8.0


@pytest.mark.gpu
@needs_cuda
def test_capture_without_capturable_is_refused():
    param = torch.ones(1, device="cuda")
    param.grad = torch.ones(1, device="cuda")
    optimizer = RMSprop([param])
    with (
        pytest.raises(RuntimeError, match="capturable=True"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        optimizer.step()
