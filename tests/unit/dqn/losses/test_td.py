"""TD errors and losses against numbers worked by hand, PyTorch's Huber loss and autograd."""

import pytest
import torch
from torch.nn import functional

from dqn.losses.loss import Outcome, Predictions
from dqn.losses.td import QLearning, clipped_error_loss, double_q_learning_td_error
from dqn.networks.outputs import QValues

Q_TM1 = [[1.0, 2.0, 3.0], [0.0, -1.0, 5.0], [4.0, 4.0, 4.0]]
A_TM1 = [2, 0, 1]
R_T = [1.0, -1.0, 10.0]
DISCOUNT_T = [0.9, 0.5, 0.0]
Q_T_TARGET = [[0.0, 10.0, 5.0], [-2.0, -4.0, -6.0], [7.0, 8.0, 9.0]]
Q_T_SELECTOR = [[3.0, 1.0, 2.0], [0.0, 9.0, 0.0], [1.0, 2.0, 3.0]]


def _transitions() -> dict[str, torch.Tensor]:
    return {
        "q_tm1": torch.tensor(Q_TM1, requires_grad=True),
        "a_tm1": torch.tensor(A_TM1),
        "r_t": torch.tensor(R_T),
        "discount_t": torch.tensor(DISCOUNT_T),
        "q_t_target": torch.tensor(Q_T_TARGET, requires_grad=True),
    }


def _q_learning(**transitions: torch.Tensor) -> torch.Tensor:
    """Where the target network chooses the action that it values."""
    return double_q_learning_td_error(**transitions, q_t_selector=transitions["q_t_target"])


def test_q_learning_td_error_equals_the_hand_worked_one() -> None:
    td_error = _q_learning(**_transitions())
    #  1 + 0.9 * 10 - 3        -1 + 0.5 * -2 - 0        10 + 0 * 9 - 4
    torch.testing.assert_close(td_error, torch.tensor([7.0, -2.0, 6.0]))


def test_double_q_learning_values_the_action_that_the_selector_chooses() -> None:
    td_error = double_q_learning_td_error(
        **_transitions(), q_t_selector=torch.tensor(Q_T_SELECTOR, requires_grad=True)
    )
    # chosen: 0, 1, 2:  1 + 0.9 * 0 - 3     -1 + 0.5 * -4 - 0     10 + 0 * 9 - 4
    torch.testing.assert_close(td_error, torch.tensor([-2.0, -3.0, 6.0]))


def test_gradient_flows_into_the_prediction_of_the_taken_action_only() -> None:
    transitions = _transitions()
    selector = torch.tensor(Q_T_SELECTOR, requires_grad=True)
    double_q_learning_td_error(**transitions, q_t_selector=selector).sum().backward()
    expected = torch.tensor([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    torch.testing.assert_close(transitions["q_tm1"].grad, expected)
    assert transitions["q_t_target"].grad is None
    assert selector.grad is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("q_tm1", torch.zeros(3)),
        ("q_t_target", torch.zeros(3, 4)),
        ("a_tm1", torch.zeros(3, 1, dtype=torch.int64)),
        ("r_t", torch.zeros(3, 1)),  # would broadcast to [batch, batch]
        ("discount_t", torch.zeros(())),
    ],
)
def test_a_shape_that_would_broadcast_is_refused_by_name(name: str, value: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=name):
        _q_learning(**{**_transitions(), name: value})


def test_clipped_error_loss_equals_the_hand_worked_one() -> None:
    td_error = torch.tensor([0.0, 0.5, -1.0, 3.0])
    # The last one: 1 * (3 - 0.5), and without a bound 3 * 3 / 2.
    losses = clipped_error_loss(td_error, error_bound=1.0)
    torch.testing.assert_close(losses, torch.tensor([0.0, 0.125, 0.5, 2.5]))
    losses = clipped_error_loss(td_error, error_bound=None)
    torch.testing.assert_close(losses, torch.tensor([0.0, 0.125, 0.5, 4.5]))


@pytest.mark.parametrize("error_bound", [1 / 32, 1.0, 2.5])
def test_clipped_error_loss_is_pytorchs_huber_loss(error_bound: float) -> None:
    td_error = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(
        clipped_error_loss(td_error, error_bound=error_bound),
        functional.huber_loss(
            td_error, torch.zeros_like(td_error), delta=error_bound, reduction="none"
        ),
    )


@pytest.mark.parametrize("error_bound", [1 / 32, 1.0, None])
def test_gradient_of_the_summed_loss_is_the_clipped_error(error_bound: float | None) -> None:
    td_error = torch.linspace(-5, 5, 101, dtype=torch.float64, requires_grad=True)
    clipped_error_loss(td_error, error_bound=error_bound).sum().backward()
    expected = td_error.detach()
    if error_bound is not None:
        expected = expected.clamp(-error_bound, error_bound)
    torch.testing.assert_close(td_error.grad, expected)


@pytest.mark.parametrize("error", [-1.0, 0.0, 1.0])
def test_gradient_is_exact_at_the_bound_and_at_zero(error: float) -> None:
    td_error = torch.tensor([error], requires_grad=True)
    clipped_error_loss(td_error, error_bound=1.0).backward()
    assert td_error.grad is not None
    assert td_error.grad.item() == error


@pytest.mark.parametrize("error_bound", [0.0, -1.0, float("nan")])
def test_a_bound_that_is_not_positive_is_refused(error_bound: float) -> None:
    with pytest.raises(ValueError, match="error_bound="):
        clipped_error_loss(torch.zeros(1), error_bound=error_bound)
    with pytest.raises(ValueError, match="error_bound="):
        QLearning(error_bound=error_bound)


def test_a_loss_gives_one_number_and_one_priority_a_transition() -> None:
    transitions = _transitions()
    selector = torch.tensor(Q_T_SELECTOR)
    predictions = Predictions(
        QValues(transitions["q_tm1"]), QValues(transitions["q_t_target"]), selector, None
    )
    outcome = Outcome(transitions["a_tm1"], transitions["r_t"], transitions["discount_t"])
    output = QLearning(error_bound=1.0)(predictions, outcome)
    # TD errors -2, -3 and 6, all beyond the bound: |e| - 1/2.
    torch.testing.assert_close(output.losses, torch.tensor([1.5, 2.5, 5.5]))
    torch.testing.assert_close(output.priorities, torch.tensor([2.0, 3.0, 6.0]))
    assert not output.priorities.requires_grad
