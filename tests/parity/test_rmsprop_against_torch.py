"""Default flags against torch.optim, parameters and state, bit for bit on the for-loop path."""

import copy
import itertools

import pytest
import torch
from torch import Tensor

from rmsprop import Adagrad, RMSprop

NUM_STEPS = 12
FOR_LOOP = {"foreach": False}

RMSPROP_OPTIONS = [
    {"weight_decay": wd, "momentum": mu, "centered": centered, "maximize": maximize}
    for wd, mu, centered, maximize in itertools.product(
        (0, 0.1), (0, 0.9), (False, True), (False, True)
    )
] + [{"lr": 0.5, "alpha": 0.0, "eps": 1e-2}, {"alpha": 1.0}, {"eps": 0.1, "alpha": 0.95}]

ADAGRAD_OPTIONS = [
    {},
    {"lr": 0.1, "lr_decay": 0.5},
    {"weight_decay": 0.1, "maximize": True},
    {"initial_accumulator_value": 0.1, "eps": 1e-3},
]


def optimizers_of(kind: str, ours: list[Tensor], theirs: list[Tensor], **options):
    if kind == "rmsprop":
        return (
            RMSprop(ours, **options, fused=False, **FOR_LOOP),
            torch.optim.RMSprop(theirs, **options, **FOR_LOOP),
        )
    return (
        Adagrad(ours, **options, fused=False, **FOR_LOOP),
        torch.optim.Adagrad(theirs, **options, **FOR_LOOP),
    )


def example_params(dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (5,), (), (2, 3, 2, 2)]
    params = [torch.randn(shape, dtype=dtype, generator=generator) for shape in shapes]
    params[3] = params[3].to(memory_format=torch.channels_last)
    return params


def set_grads(step: int, *param_lists: list[Tensor]) -> None:
    """The same noisy gradients for every list; parameter 1 has none at every third step."""
    generator = torch.Generator().manual_seed(100 + step)
    for index, params in enumerate(zip(*param_lists, strict=True)):
        reference = params[0]
        grad = torch.randn(reference.shape, dtype=reference.dtype, generator=generator)
        for param in params:
            param.grad = None if index == 1 and step % 3 == 0 else grad.clone()


def assert_identical(ours, theirs, our_params, their_params, rtol: float = 0) -> None:
    for mine, their in zip(our_params, their_params, strict=True):
        torch.testing.assert_close(mine, their, rtol=rtol, atol=rtol)
        assert list(ours.state[mine]) == list(theirs.state[their])
        for key, value in theirs.state[their].items():
            torch.testing.assert_close(ours.state[mine][key], value, rtol=rtol, atol=rtol)
            assert ours.state[mine][key].dtype == value.dtype
            assert ours.state[mine][key].stride() == value.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("rmsprop", options) for options in RMSPROP_OPTIONS]
    + [("adagrad", options) for options in ADAGRAD_OPTIONS],
)
def test_for_loop_repeats_torch_bit_for_bit(kind, options, dtype):
    our_params = example_params(dtype)
    their_params = copy.deepcopy(our_params)
    ours, theirs = optimizers_of(kind, our_params, their_params, **options)
    for step in range(1, NUM_STEPS + 1):
        set_grads(step, our_params, their_params)
        ours.step()
        theirs.step()
    # PyTorch decays complex weights by a complex product, which rounds differently from a real one.
    rtol = 1e-5 if dtype.is_complex and options.get("weight_decay") else 0
    assert_identical(ours, theirs, our_params, their_params, rtol)


@pytest.mark.parametrize("kind", ["rmsprop", "adagrad"])
def test_groups_and_a_learning_rate_schedule_repeat_torch(kind):
    our_params = example_params(torch.float32)
    their_params = copy.deepcopy(our_params)

    def groups(params):
        return [{"params": params[:2], "weight_decay": 0.1}, {"params": params[2:], "lr": 0.3}]

    ours, theirs = optimizers_of(kind, groups(our_params), groups(their_params), lr=0.02)
    schedulers = [torch.optim.lr_scheduler.StepLR(o, 2, gamma=0.5) for o in (ours, theirs)]
    for step in range(1, NUM_STEPS + 1):
        set_grads(step, our_params, their_params)
        for optimizer, scheduler in zip((ours, theirs), schedulers, strict=True):
            optimizer.step()
            scheduler.step()
    assert_identical(ours, theirs, our_params, their_params)
    assert [g["lr"] for g in ours.param_groups] == [g["lr"] for g in theirs.param_groups]


@pytest.mark.parametrize("kind", ["rmsprop", "adagrad"])
def test_a_closure_is_evaluated_with_gradients_and_its_loss_returned(kind):
    our_params = [torch.nn.Parameter(torch.tensor([1.0, -2.0]))]
    their_params = copy.deepcopy(our_params)
    for params, optimizer in zip(
        (our_params, their_params),
        optimizers_of(kind, our_params, their_params, lr=0.1),
        strict=True,
    ):

        def closure(params=params, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (params[0] ** 2).sum()
            loss.backward()
            return loss

        with torch.no_grad():
            losses = [optimizer.step(closure).item() for _ in range(7)]
        assert losses == sorted(losses, reverse=True)
    assert torch.equal(our_params[0], their_params[0])


@pytest.mark.parametrize("direction", ["ours to torch", "torch to ours"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rmsprop", {}),
        ("rmsprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.1}),
        ("adagrad", {"lr_decay": 0.1}),
    ],
)
def test_a_run_continues_in_the_other_optimizer(kind, options, direction):
    our_params = example_params(torch.float32)
    their_params = copy.deepcopy(our_params)
    ours, theirs = optimizers_of(kind, our_params, their_params, **options)
    source, target = (ours, theirs) if direction == "ours to torch" else (theirs, ours)
    source_params = our_params if source is ours else their_params
    for step in range(1, 6):
        set_grads(step, source_params)
        source.step()
    with torch.no_grad():
        for mine, their in zip(our_params, their_params, strict=True):
            target_param, source_param = (their, mine) if source is ours else (mine, their)
            target_param.copy_(source_param)
    target.load_state_dict(copy.deepcopy(source.state_dict()))
    for step in range(6, 11):
        set_grads(step, our_params, their_params)
        ours.step()
        theirs.step()
    assert_identical(ours, theirs, our_params, their_params)


def test_torch_state_is_refused_where_it_would_silently_change_the_rule():
    param = torch.ones(2)
    state_dict = torch.optim.RMSprop([param]).state_dict()
    ours = RMSprop([param], eps_inside_sqrt=True)
    with pytest.raises(ValueError, match="'eps_inside_sqrt' in group 0"):
        ours.load_state_dict(state_dict)


def test_centred_rule_stays_finite_on_steady_gradients_where_torch_turns_nan():
    theta = torch.linspace(0.1, 1.0, 64)
    ours, theirs = theta.clone(), theta.clone()
    options = {"lr": 1e-3, "alpha": 0.95, "centered": True}
    optimizers = RMSprop([ours], **options), torch.optim.RMSprop([theirs], **options)
    grad = torch.linspace(0.01, 1.0, 64)
    for _ in range(1000):
        for param, optimizer in zip((ours, theirs), optimizers, strict=True):
            param.grad = grad
            optimizer.step()
    assert theirs.isnan().any()
    assert ours.isfinite().all()


def test_centred_rule_does_not_hide_a_nan_gradient():
    theta = torch.ones(2)
    optimizer = RMSprop([theta], centered=True)
    theta.grad = torch.tensor([1.0, torch.nan])
    optimizer.step()
    assert theta.isnan().tolist() == [False, True]


def test_bias_correction_with_epsilon_outside_is_adam_without_first_moment():
    ours, theirs = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([1.0, -2.0, 3.0])
    optimizers = (
        RMSprop([ours], lr=0.1, alpha=0.9, bias_correction=True),
        torch.optim.Adam([theirs], lr=0.1, betas=(0.0, 0.9)),
    )
    for step in range(1, NUM_STEPS + 1):
        set_grads(step, [ours], [theirs])
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
