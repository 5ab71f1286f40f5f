"""Effective step sizes: published settings worked out by hand, and the steps optimizers make."""

import math

import pytest
import torch

import rmsprop
from rmsprop import (
    StepSize,
    convert_rmsprop,
    dialects,
    effective_step_size,
    gradient_scale,
    matching_constants,
)

MEAN = 1 / 32
LUA = StepSize(small_gradient_rate=2.5e-3, crossover=0.1)

# Public implementations of DQN read at their sources, per unit of a gradient summed over a batch of
# 32: setting -> K and s* worked out with pencil and paper.
PUBLISHED = {
    # 2.5e-4 / sqrt(0.01); sqrt(0.01)
    "Lua, PFRL, deep_q_rl": ({"lr": 2.5e-4, "eps": 0.01, "eps_inside_sqrt": True}, 2.5e-3, 0.10),
    # 2.5e-4 / 32 / (0.1 / 32); (0.1 / 32) * 32
    "DQN Zoo dqn": (
        {"lr": 2.5e-4, "eps": 0.01 / 32**2, "eps_inside_sqrt": True, "scale": MEAN},
        2.5e-3,
        0.10,
    ),
    # 6.25e-5 / 0.025
    "DQN Zoo prioritized": (
        {"lr": 2.5e-4 / 4, "eps": 0.01 / 32**2 / 16, "eps_inside_sqrt": True, "scale": MEAN},
        2.5e-3,
        0.025,
    ),
    # 2.5e-4 / 32 / 3.1623e-3
    "Dopamine TF": (
        {"lr": 2.5e-4, "eps": 1e-5, "eps_inside_sqrt": True, "scale": MEAN},
        2.4705e-3,
        0.10119,
    ),
    # 2.5e-4 / 32 / 0.01
    "fast-dqn on Keras until 2.10, MinAtar, naive port": (
        {"lr": 2.5e-4, "eps": 0.01, "scale": MEAN},
        7.8125e-4,
        0.32,
    ),
    # 2.5e-4 / 32 / 0.1
    "fast-dqn on Keras from 2.11": (
        {"lr": 2.5e-4, "eps": 0.01, "eps_inside_sqrt": True, "scale": MEAN},
        7.8125e-5,
        3.2,
    ),
    "PyTorch, sum, ε outside": ({"lr": 2.5e-4, "eps": 0.01}, 2.5e-2, 0.01),
    # The misread table: 20 times the naive port.
    "naive port with momentum 0.95": (
        {"lr": 2.5e-4, "eps": 0.01, "scale": MEAN, "momentum": 0.95},
        7.8125e-4 * 20,
        0.32,
    ),
    # 2e-4 / 32 / 1e-3
    "deep_q_rl nips": (
        {"lr": 2e-4, "eps": 1e-6, "eps_inside_sqrt": True, "scale": MEAN},
        6.25e-3,
        0.032,
    ),
    # 6.25e-5 / 32 / 1.5e-4
    "Dopamine JAX, Huber": (
        {"rule": "adam", "lr": 6.25e-5, "eps": 1.5e-4, "scale": MEAN},
        1.30208e-2,
        0.0048,
    ),
    # Its loss is x² without the half: gradients are doubled.
    "Dopamine JAX, MSE": (
        {"rule": "adam", "lr": 6.25e-5, "eps": 1.5e-4, "scale": 2 * MEAN},
        2.60417e-2,
        0.0024,
    ),
    # 1e-4 * 2 / 32 / 1e-8
    "CleanRL, MSE": (
        {"rule": "adam", "lr": 1e-4, "eps": 1e-8, "scale": 2 * MEAN},
        625.0,
        1.6e-7,
    ),
    # 1e-4 / 32 / 1e-8
    "Stable-Baselines3, Huber": (
        {"rule": "adam", "lr": 1e-4, "eps": 1e-8, "scale": MEAN},
        312.5,
        3.2e-7,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_have_the_step_sizes_worked_out_by_hand(name):
    options, small_gradient_rate, crossover = PUBLISHED[name]
    step_size = effective_step_size(**{"rule": "rmsprop", **options})
    assert step_size.small_gradient_rate == pytest.approx(small_gradient_rate, rel=1e-4)
    assert step_size.crossover == pytest.approx(crossover, rel=1e-4)


def test_ratios_to_deepminds_are_those_that_reproductions_differ_by():
    def ratio(name):
        return PUBLISHED[name][1] / LUA.small_gradient_rate

    assert ratio("Dopamine TF") == pytest.approx(0.99, abs=0.005)
    assert ratio("fast-dqn on Keras until 2.10, MinAtar, naive port") == pytest.approx(0.3125)
    assert ratio("fast-dqn on Keras from 2.11") == pytest.approx(0.03125)
    assert ratio("PyTorch, sum, ε outside") == pytest.approx(10)


@pytest.mark.parametrize("name", PUBLISHED)
def test_constants_come_back_from_the_step_size(name):
    options = {"rule": "rmsprop", **PUBLISHED[name][0]}
    step_size = effective_step_size(**options)
    expected = {key: options.pop(key) for key in ("lr", "eps")}
    assert matching_constants(step_size, **options) == pytest.approx(expected)


def measured_rate(optimizer_class, s, **options):
    """Long-run step per unit of the steady part of a gradient that alternates by ± s around it.

    Two parameters alternate in opposite phase, so that their mean shows the steady part alone. The
    memory of v is long (0.999): else v would know the sign of the gradient it divides.
    """
    steady = 0.01 * s
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = optimizer_class([theta], **options)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)
    num_steps = 400
    for step in range(2 * num_steps):
        if step == num_steps:
            before = theta.detach().clone()
        theta.grad = steady + s * signs
        signs = -signs
        optimizer.step()
    return float((before - theta.detach()).mean() / num_steps / steady)


@pytest.mark.parametrize("eps_inside_sqrt", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("s", [1e-4, 1.0, 1e4], ids=["small", "at the crossover", "large"])
def test_rmsprop_really_makes_the_computed_steps(s, momentum, eps_inside_sqrt):
    wanted = StepSize(small_gradient_rate=1e-3, crossover=1.0)
    constants = matching_constants(
        wanted, "rmsprop", momentum=momentum, eps_inside_sqrt=eps_inside_sqrt
    )
    rate = measured_rate(
        rmsprop.RMSprop,
        s,
        alpha=0.999,
        initial_square_avg=s**2,
        momentum=momentum,
        eps_inside_sqrt=eps_inside_sqrt,
        **constants,
    )
    expected = wanted.rate(s, eps_inside_sqrt=eps_inside_sqrt)
    assert rate == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("s", [1e-4, 1.0, 1e4])
def test_adam_really_makes_the_computed_steps(s):
    wanted = StepSize(small_gradient_rate=1e-3, crossover=1.0)
    constants = matching_constants(wanted, "adam")
    rate = measured_rate(torch.optim.Adam, s, betas=(0.9, 0.999), **constants)
    assert rate == pytest.approx(wanted.rate(s, eps_inside_sqrt=False), rel=0.01)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_matches_where_gradients_are_small_and_nowhere_else(momentum):
    constants = matching_constants(LUA, "sgd", momentum=momentum)
    rate = measured_rate(torch.optim.SGD, 1.0, momentum=momentum, **constants)
    assert rate == pytest.approx(LUA.small_gradient_rate, rel=0.01)
    assert rate > 9 * LUA.rate(1.0, eps_inside_sqrt=True)


def test_adagrad_matches_after_the_given_number_of_updates_only():
    constants = matching_constants(LUA, "adagrad", num_updates=400)
    theta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adagrad([theta], **constants)
    s, rates = 3.0, {}
    for t in range(1, 1_601):
        before = theta.item()
        theta.grad = torch.tensor([s if t % 2 else -s], dtype=torch.float64)
        optimizer.step()
        rates[t] = abs(theta.item() - before) / s
    assert rates[400] == pytest.approx(LUA.rate(s, eps_inside_sqrt=False))
    # Far above the crossover steps fall as the root of the number of updates.
    assert rates[100] / rates[400] == pytest.approx(2.0, rel=0.05)
    assert rates[1600] / rates[400] == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("name", ["deepmind", "dopamine", "graves", "torch", "deep_q_rl_nips"])
def test_a_mean_loss_makes_the_same_steps_with_converted_constants(name):
    options = dict(dialects[name])
    converted = convert_rmsprop(options, {}, form_scale=MEAN)
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(50, 20, generator=generator, dtype=torch.float64)
    trajectories = []
    for constants, scale in ((options, 1.0), (converted, MEAN)):
        theta = torch.ones(20, dtype=torch.float64, requires_grad=True)
        optimizer = rmsprop.RMSprop([theta], **constants)
        for gradient in gradients:
            theta.grad = gradient * scale
            optimizer.step()
        trajectories.append(theta.detach())
    torch.testing.assert_close(*trajectories, rtol=1e-9, atol=1e-12)


def test_conversion_between_dialects_keeps_the_form_and_both_limits():
    converted = convert_rmsprop(dialects["deepmind"], dialects["torch"])
    assert converted == dialects["torch"] | {"lr": 2.5e-4, "eps": 0.1}
    misread = convert_rmsprop(dialects["deepmind"], {"momentum": 0.95, "eps_inside_sqrt": False})
    assert misread["lr"] == pytest.approx(2.5e-4 * 0.05)
    assert misread["eps"] == pytest.approx(0.1)
    assert misread["centered"] is True


def test_inside_and_outside_differ_by_at_most_the_root_of_two():
    grid = [LUA.crossover * 10 ** (k / 10) for k in range(-40, 41)]
    ratios = [LUA.rate(s, eps_inside_sqrt=True) / LUA.rate(s, eps_inside_sqrt=False) for s in grid]
    assert max(ratios) == pytest.approx(math.sqrt(2))
    assert grid[ratios.index(max(ratios))] == pytest.approx(LUA.crossover)
    assert ratios[0] == pytest.approx(1, abs=1e-3)
    assert ratios[-1] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effective_step_size("rmsprop", lr=1e-3, eps=0.0), "eps=0.0 must be positive"),
        (lambda: effective_step_size("adamw", lr=1e-3, eps=1.0), "rule='adamw' must be"),
        (lambda: effective_step_size("sgd", lr=0.0), "lr=0.0 must be positive"),
        (lambda: effective_step_size("adam", lr=1.0, eps=1.0, momentum=0.9), "adam has no heavy"),
        (lambda: effective_step_size("sgd", lr=1.0, momentum=1.0), r"momentum=1.0 must be in"),
        (lambda: effective_step_size("adagrad", lr=1.0, eps=1.0), "num_updates=None: Adagrad's"),
        (lambda: matching_constants(StepSize(1.0, math.inf), "rmsprop"), "no rmsprop matches"),
        (lambda: gradient_scale("median", 32), "must be 'sum' or 'mean'"),
        (lambda: gradient_scale("mean", 0), "batch_size=0"),
    ],
)
def test_what_has_no_step_size_or_no_match_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
