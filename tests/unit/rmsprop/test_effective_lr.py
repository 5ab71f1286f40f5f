"""Effective learning rates against the steps really taken, and against hand-worked numbers."""

import copy
import math

import pytest
import torch

from rmsprop import (
    Adagrad,
    RMSprop,
    effective_learning_rate_summaries,
    effective_learning_rates,
    update_ratios,
)

MEASURABLE = [
    (RMSprop, {}),
    (RMSprop, {"alpha": 0.9, "eps": 0.1, "eps_inside_sqrt": True, "initial_square_avg": 1.0}),
    (RMSprop, {"centered": True, "eps": 0.01, "eps_inside_sqrt": True}),
    (RMSprop, {"centered": True, "eps": 0.01, "alpha": 0.9}),
    (RMSprop, {"bias_correction": True, "alpha": 0.9, "maximize": True}),
    (torch.optim.RMSprop, {"centered": True, "alpha": 0.9}),
    (torch.optim.RMSprop, {}),
    (Adagrad, {"lr_decay": 0.5, "eps_inside_sqrt": True, "eps": 0.1}),
    (torch.optim.Adagrad, {"lr_decay": 0.5, "initial_accumulator_value": 0.1}),
    (torch.optim.SGD, {"lr": 0.1}),
    (torch.optim.Adam, {"betas": (0.0, 0.9)}),
    (torch.optim.Adam, {"betas": (0.0, 0.9), "amsgrad": True}),
    (torch.optim.AdamW, {"betas": (0.0, 0.9), "weight_decay": 0.0}),
]


@pytest.mark.parametrize(("optimizer_class", "options"), MEASURABLE)
def test_the_step_taken_is_the_rate_times_the_gradient(optimizer_class, options):
    theta = torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3)
    optimizer = optimizer_class([("theta", theta)], **options)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        before = theta.clone()
        theta.grad = torch.randn(2, 3, dtype=torch.float64, generator=generator)
        optimizer.step()
        rate = effective_learning_rates(optimizer)["theta"]
        assert rate.shape == theta.shape
        moved = (theta - before) if options.get("maximize") else (before - theta)
        torch.testing.assert_close(rate * theta.grad, moved, rtol=1e-9, atol=1e-15)


def test_adam_rate_multiplies_the_corrected_first_moment():
    theta = torch.zeros(1)
    theta.grad = torch.tensor([4.0])
    optimizer = torch.optim.Adam([theta], lr=0.1, betas=(0.9, 0.999), eps=1.0)
    optimizer.step()
    # v̂ = 16 after one step, so the rate is 0.1 / (4 + 1).
    assert effective_learning_rates(optimizer)["0.0"].item() == pytest.approx(0.02, rel=1e-5)


def test_names_come_from_named_parameters_or_from_group_and_index():
    model = torch.nn.Linear(2, 1)
    for optimizer, names in [
        (torch.optim.SGD(model.named_parameters(), lr=0.5), ["weight", "bias"]),
        (torch.optim.SGD(model.parameters(), lr=0.5), ["0.0", "0.1"]),
        (
            torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.5),
            ["0.0", "1.0"],
        ),
    ]:
        rates = effective_learning_rates(optimizer)
        assert list(rates) == names
        assert torch.equal(rates[names[0]], torch.full((1, 2), 0.5))


@pytest.mark.parametrize("optimizer_class", [RMSprop, Adagrad, torch.optim.Adagrad])
def test_a_parameter_never_stepped_has_no_rate(optimizer_class):
    moved, frozen = torch.zeros(1), torch.zeros(1)
    optimizer = optimizer_class([("moved", moved), ("frozen", frozen)])
    assert effective_learning_rates(optimizer) == {}
    moved.grad = torch.ones(1)
    optimizer.step()
    assert list(effective_learning_rates(optimizer)) == ["moved"]
    assert list(effective_learning_rate_summaries(optimizer)) == ["moved"]


def test_rate_of_a_complex_parameter_holds_those_of_its_parts():
    theta = torch.zeros(1, dtype=torch.complex64)
    theta.grad = torch.tensor([3 + 4j])
    optimizer = RMSprop([theta], lr=1.0, alpha=0.0, eps=0.0)
    optimizer.step()
    rate = effective_learning_rates(optimizer)["0.0"]
    torch.testing.assert_close(rate, torch.tensor([1 / 3 + 1j / 4]))


def test_centred_rate_is_finite_where_the_variance_rounds_below_zero():
    theta = torch.zeros(1)
    optimizer = torch.optim.RMSprop([theta], lr=1.0, eps=0.5, centered=True)
    theta.grad = torch.ones(1)
    optimizer.step()
    optimizer.state[theta]["square_avg"].fill_(1.0)
    optimizer.state[theta]["grad_avg"].fill_(1.001)
    assert effective_learning_rates(optimizer)["0.0"].item() == 2.0


def test_other_optimizers_are_refused_by_name():
    with pytest.raises(TypeError, match="got ASGD"):
        effective_learning_rates(torch.optim.ASGD([torch.zeros(1)]))


@pytest.mark.parametrize(("optimizer_class", "options"), MEASURABLE)
def test_reading_writes_nothing(optimizer_class, options):
    theta = torch.ones(3)
    theta.grad = torch.tensor([1.0, 0.0, -2.0])
    optimizer = optimizer_class([theta], **options)
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    effective_learning_rates(optimizer)
    effective_learning_rate_summaries(optimizer)
    after = optimizer.state_dict()
    assert before["param_groups"] == after["param_groups"]
    torch.testing.assert_close(before["state"], after["state"], rtol=0, atol=0)


def test_update_ratio_is_distance_over_size_before():
    before = {"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2), "c": torch.zeros(1)}
    after = [
        ("a", torch.tensor([3.0, 3.0])),
        ("b", torch.zeros(2)),
        ("c", torch.ones(1, requires_grad=True)),
    ]
    assert update_ratios(before, after) == {"a": pytest.approx(0.2), "b": 0.0, "c": math.inf}


def test_update_ratio_needs_the_same_names():
    with pytest.raises(ValueError, match=r"names differ .*'b'"):
        update_ratios({"a": torch.ones(1)}, {"a": torch.ones(1), "b": torch.ones(1)})
