"""What must hold for any gradients: closed forms, invariances, and the naive oracle."""

import math

import pytest
import torch
from helpers.trajectories import naive_rmsprop, run
from hypothesis import given, settings
from hypothesis import strategies as st

from rmsprop import RMSprop

gradient = st.floats(-10, 10, allow_subnormal=False).filter(lambda g: g == 0 or abs(g) > 1e-3)
gradients = st.lists(st.tuples(gradient, gradient), min_size=1, max_size=8)
decay = st.sampled_from([0.0, 0.5, 0.9, 0.99])
THETA = (1.0, -2.0)


@st.composite
def options(draw):
    """Every combination of settings that RMSprop accepts."""
    momentum = draw(st.sampled_from([0.0, 0.9]))
    centered = draw(st.booleans())
    initial_square_avg = draw(st.sampled_from([0.0, 1.0]))
    correctable = not centered and initial_square_avg == 0
    return {
        "lr": draw(st.sampled_from([1e-3, 0.1])),
        # With no memory the variance is 0 but for rounding, and nothing is to be compared.
        "alpha": draw(decay.filter(bool) if centered else decay),
        "eps": draw(st.sampled_from([1e-2, 0.1])),
        "weight_decay": draw(st.sampled_from([0.0, 0.1])),
        "momentum": momentum,
        "centered": centered,
        "eps_inside_sqrt": draw(st.booleans()),
        "initial_square_avg": initial_square_avg,
        "lr_in_momentum": draw(st.booleans()),
        "nesterov": momentum > 0 and draw(st.booleans()),
        "bias_correction": correctable and draw(st.booleans()),
        "decoupled_weight_decay": draw(st.booleans()),
        "maximize": draw(st.booleans()),
    }


@settings(deadline=None, max_examples=300)
@given(options=options(), grads=gradients)
def test_every_combination_of_settings_agrees_with_the_naive_oracle(options, grads):
    ours = run(lambda params: RMSprop(params, **options), THETA, grads)
    assert ours == pytest.approx(naive_rmsprop(THETA, grads, **options), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("start", "alpha"), [(0.0, 0.9), (1.0, 0.9), (0.0, 0.99), (1.0, 0.99)])
def test_averages_of_a_constant_gradient_follow_their_closed_form(start, alpha):
    theta, grad = torch.zeros(1, dtype=torch.float64), 3.0
    optimizer = RMSprop([theta], alpha=alpha, centered=True, initial_square_avg=start)
    for step in range(1, 21):
        theta.grad = torch.tensor([grad], dtype=torch.float64)
        optimizer.step()
        state, weight = optimizer.state[theta], alpha**step
        square_avg = weight * start + (1 - weight) * grad**2
        assert state["square_avg"].item() == pytest.approx(square_avg, rel=1e-12)
        assert state["grad_avg"].item() == pytest.approx((1 - weight) * grad, rel=1e-12)
        if start == 0:
            variance = state["square_avg"] - state["grad_avg"] ** 2
            assert variance.item() == pytest.approx(weight * (1 - weight) * grad**2, rel=1e-9)


@settings(deadline=None)
@given(grads=gradients, exponent=st.integers(-8, 8), inside=st.booleans(), centered=st.booleans())
def test_scaling_gradients_and_epsilon_together_changes_nothing(grads, exponent, inside, centered):
    scale, eps = 2.0**exponent, 1e-2  # Powers of two scale without rounding.
    scaled = [[scale * g for g in row] for row in grads]

    def theta(rows, eps):
        return run(
            lambda params: RMSprop(params, eps=eps, eps_inside_sqrt=inside, centered=centered),
            THETA,
            rows,
        )

    assert theta(scaled, eps * scale ** (2 if inside else 1)) == pytest.approx(
        theta(grads, eps), rel=1e-12
    )


@settings(deadline=None)
@given(grads=gradients, alpha=decay)
def test_variance_of_the_centred_rule_is_not_negative_beyond_rounding(grads, alpha):
    theta = torch.zeros(2, dtype=torch.float64)
    optimizer = RMSprop([theta], alpha=alpha, centered=True)
    for row in grads:
        theta.grad = torch.tensor(row, dtype=torch.float64)
        optimizer.step()
    state = optimizer.state[theta]
    assert (state["square_avg"] - state["grad_avg"] ** 2 >= -1e-13).all()


@settings(deadline=None)
@given(grads=gradients, scale=st.sampled_from([1e-3, 1e-2]))
def test_epsilon_inside_and_its_root_outside_differ_by_at_most_root_two(grads, scale):
    inside = run(lambda p: RMSprop(p, eps=scale**2, eps_inside_sqrt=True), THETA, grads[:1])
    outside = run(lambda p: RMSprop(p, eps=scale), THETA, grads[:1])
    for start, far, near, grad in zip(THETA, inside, outside, grads[0], strict=True):
        if grad != 0:
            ratio = (far - start) / (near - start)
            assert 1 - 1e-9 <= ratio <= math.sqrt(2) + 1e-9


@settings(deadline=None)
@given(grads=gradients)
def test_place_of_the_learning_rate_matters_only_when_it_changes(grads):
    def theta(lr_in_momentum, rates):
        param = torch.tensor(THETA, dtype=torch.float64)
        optimizer = RMSprop([param], momentum=0.9, eps=0.01, lr_in_momentum=lr_in_momentum)
        for row, lr in zip(grads, rates, strict=True):
            optimizer.param_groups[0]["lr"] = lr
            param.grad = torch.tensor(row, dtype=torch.float64)
            optimizer.step()
        return param.tolist()

    constant = [0.1] * len(grads)
    assert theta(True, constant) == pytest.approx(theta(False, constant), rel=1e-12)
    if len(grads) > 1 and any(grads[0]):
        dropped = [0.1] + [0.0] * (len(grads) - 1)
        assert theta(True, dropped) != pytest.approx(theta(False, dropped), rel=1e-6)


@settings(deadline=None)
@given(grads=gradients)
def test_memory_of_one_and_no_epsilon_is_plain_gradient_descent(grads):
    ours = run(
        lambda params: RMSprop(
            params, lr=0.1, alpha=1.0, eps=0.0, eps_inside_sqrt=True, initial_square_avg=1.0
        ),
        THETA,
        grads,
    )
    sgd = run(lambda params: torch.optim.SGD(params, lr=0.1), THETA, grads)
    assert ours == pytest.approx(sgd, rel=1e-12, abs=1e-12)


@settings(deadline=None)
@given(grads=gradients)
def test_no_memory_is_descent_by_sign(grads):
    ours = run(lambda params: RMSprop(params, lr=0.1, alpha=0.0, eps=1e-12), THETA, grads)
    signs = [sum((g[i] > 0) - (g[i] < 0) for g in grads) for i in range(2)]
    expected = [x - 0.1 * s for x, s in zip(THETA, signs, strict=True)]
    assert ours == pytest.approx(expected, abs=1e-8)


def test_decoupled_decay_without_gradient_is_geometric_and_coupled_is_not():
    zeros = [(0.0, 0.0)] * 5
    options = {"lr": 0.1, "weight_decay": 0.5}
    decoupled = run(lambda p: RMSprop(p, **options, decoupled_weight_decay=True), THETA, zeros)
    coupled = run(lambda p: RMSprop(p, **options), THETA, zeros)
    geometric = [x * (1 - 0.05) ** 5 for x in THETA]
    assert decoupled == pytest.approx(geometric, rel=1e-14)
    assert coupled != pytest.approx(geometric, rel=1e-3)


@pytest.mark.parametrize("centered", [False, True])
def test_a_complex_parameter_is_two_real_ones(centered):
    theta = torch.tensor([1 + 2j, -3 + 0.5j])
    real = torch.view_as_real(theta).clone()
    options = {"momentum": 0.9, "centered": centered, "initial_square_avg": 1.0, "eps": 0.01}
    optimizers = RMSprop([theta], **options), RMSprop([real], **options)
    for grad in (torch.tensor([0.1 - 2j, 3j]), torch.tensor([1 + 1j, -1 + 0.1j])):
        theta.grad, real.grad = grad, torch.view_as_real(grad)
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(torch.view_as_real(theta), real)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("eps_inside_sqrt", [False, True])
def test_zero_gradients_from_the_start_move_nothing(centered, eps_inside_sqrt):
    options = {"momentum": 0.9, "centered": centered, "eps_inside_sqrt": eps_inside_sqrt}
    assert run(lambda p: RMSprop(p, **options), THETA, [(0.0, 0.0)] * 3) == list(THETA)


def test_a_zero_gradient_still_decays_the_average_and_moves_the_buffer_but_none_does_not():
    theta = torch.ones(1)
    optimizer = RMSprop([theta], alpha=0.5, momentum=0.5)
    theta.grad = torch.ones(1)
    optimizer.step()
    state = optimizer.state[theta]
    after_one = theta.item()
    theta.grad = None
    optimizer.step()
    assert (theta.item(), state["step"].item(), state["square_avg"].item()) == (after_one, 1, 0.5)
    theta.grad = torch.zeros(1)
    optimizer.step()
    assert (state["step"].item(), state["square_avg"].item()) == (2, 0.25)
    assert theta.item() < after_one
