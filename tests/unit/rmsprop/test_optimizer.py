"""Arguments, groups and state of the classes RMSprop and Adagrad."""

import pytest
import torch

from rmsprop import Adagrad, RMSprop


def test_worked_example_of_two_parameters_step_by_step():
    # alpha 0.9, lr 0.01: square_avg 10, then 19 and 27.1 for g = 10; 1e-6 of that for g = 0.01.
    theta = torch.zeros(2, dtype=torch.float64)
    optimizer = RMSprop([theta], lr=0.01, alpha=0.9, eps=0.0)
    for square_avg in (10.0, 19.0, 27.1):
        before = theta.clone()
        theta.grad = torch.tensor([10.0, 0.01], dtype=torch.float64)
        optimizer.step()
        state = optimizer.state[theta]["square_avg"].tolist()
        assert state == pytest.approx([square_avg, square_avg * 1e-6], rel=1e-12)
        moved = 0.01 * 10 / square_avg**0.5
        assert (before - theta).tolist() == pytest.approx([moved, moved], rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": -0.1}, "Invalid learning rate: -0.1"),
        ({"lr": float("nan")}, "Invalid learning rate: nan"),
        ({"lr": torch.tensor([0.1, 0.1])}, "Tensor lr must be 1-element"),
        ({"alpha": 1.5}, r"Invalid alpha value: 1.5 \(alpha must be in \[0, 1\]\)"),
        ({"alpha": -0.5}, "Invalid alpha value: -0.5"),
        ({"eps": -1e-8}, "Invalid epsilon value: -1e-08"),
        ({"momentum": -1.0}, "Invalid momentum value: -1.0"),
        ({"weight_decay": -1}, "Invalid weight_decay value: -1"),
        ({"initial_square_avg": -1.0}, "Invalid initial_square_avg value: -1.0"),
        ({"nesterov": True}, "nesterov=True needs momentum > 0"),
        ({"bias_correction": True, "centered": True}, "cannot be combined with centered"),
        ({"bias_correction": True, "initial_square_avg": 1.0}, "average that starts at 0"),
        ({"bias_correction": True, "alpha": 1.0}, "needs alpha < 1"),
    ],
)
def test_impossible_settings_are_refused_in_constructor_and_group(changes, message):
    param = torch.zeros(1)
    with pytest.raises(ValueError, match=message):
        RMSprop([param], **changes)
    optimizer = RMSprop([torch.zeros(1)])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [param], **changes})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"foreach": True, "fused": True},
        {"differentiable": True, "fused": True},
        {"differentiable": True, "foreach": True},
    ],
)
@pytest.mark.parametrize("optimizer_class", [RMSprop, Adagrad])
def test_contradictory_implementations_are_refused(optimizer_class, changes):
    with pytest.raises(RuntimeError, match=r"`fused` (does|and)|`foreach` does"):
        optimizer_class([torch.zeros(1)], **changes)


def test_state_has_the_keys_of_torch_and_only_those_needed():
    def keys(**options):
        param = torch.ones(1)
        param.grad = torch.ones(1)
        optimizer = RMSprop([param], **options)
        optimizer.step()
        return list(optimizer.state[param])

    assert keys() == ["step", "square_avg"]
    assert keys(momentum=0.9) == ["step", "square_avg", "momentum_buffer"]
    assert keys(centered=True, momentum=0.9) == [
        "step",
        "square_avg",
        "momentum_buffer",
        "grad_avg",
    ]


def test_gradients_are_left_as_they_were():
    theta = torch.ones(3)
    theta.grad = torch.tensor([1.0, -2.0, 0.5])
    RMSprop([theta], weight_decay=0.1, maximize=True, momentum=0.9, centered=True).step()
    assert theta.grad.tolist() == [1.0, -2.0, 0.5]


@pytest.mark.parametrize("optimizer_class", [RMSprop, Adagrad])
def test_sparse_gradients_are_refused(optimizer_class):
    param = torch.ones(3)
    param.grad = torch.sparse_coo_tensor([[0]], [1.0], (3,), check_invariants=True)
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        optimizer_class([param]).step()


def test_capturable_is_refused_on_the_cpu():
    param = torch.ones(1)
    param.grad = torch.ones(1)
    with pytest.raises(RuntimeError, match=r"capturable=True needs .* a parameter on cpu"):
        RMSprop([param], capturable=True).step()
