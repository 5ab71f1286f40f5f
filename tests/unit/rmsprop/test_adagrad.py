"""What Adagrad has and RMSprop has not."""

import pytest
import torch

from rmsprop import Adagrad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr_decay": -0.5}, "Invalid lr_decay value: -0.5"),
        ({"initial_accumulator_value": -1}, "Invalid initial_accumulator_value value: -1"),
    ],
)
def test_adagrad_refuses_settings_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        Adagrad([torch.zeros(1)], **changes)


def test_adagrad_with_epsilon_inside_follows_optax():
    # One step from sum 0.1: 1 - 0.5 * 2 / sqrt(0.1 + 4 + 0.9)
    theta = torch.ones(1, dtype=torch.float64)
    optimizer = Adagrad(
        [theta], lr=0.5, initial_accumulator_value=0.1, eps=0.9, eps_inside_sqrt=True
    )
    theta.grad = torch.full((1,), 2.0, dtype=torch.float64)
    optimizer.step()
    assert theta.item() == pytest.approx(1 - 1 / 5**0.5, rel=1e-14)
