"""Q-learning and double Q-learning: the temporal-difference error and its clipped loss.

A TD error is *target minus prediction*; gradients flow into the prediction ``q_tm1`` only.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from dqn.losses.loss import LossOutput, Outcome, Predictions


def double_q_learning_td_error(
    q_tm1: torch.Tensor,
    a_tm1: torch.Tensor,
    r_t: torch.Tensor,
    discount_t: torch.Tensor,
    q_t_target: torch.Tensor,
    q_t_selector: torch.Tensor,
) -> torch.Tensor:
    """TD error of double Q-learning: one network chooses the next action, another values it.

    ::

        a_t = argmax_a q_t_selector[a]
        td_error = r_t + discount_t * q_t_target[a_t] - q_tm1[a_tm1]

    With ``q_t_selector`` equal to ``q_t_target`` this is Q-learning (Watkins & Dayan 1992, Machine
    Learning 8), the error of Mnih et al. 2015, Nature 518, algorithm 1. van Hasselt, Guez & Silver
    2016, "Deep Reinforcement Learning with Double Q-learning" (arXiv:1509.06461), take the online
    network at ``s_t`` as the selector.

    Args:
        q_tm1: ``[batch, num_actions]`` float, values at ``s_tm1``; differentiated.
        a_tm1: ``[batch]`` int64, the actions taken.
        r_t: ``[batch]`` float rewards.
        discount_t: ``[batch]`` float discounts.
        q_t_target: ``[batch, num_actions]`` float, values at ``s_t``; taken as constants.
        q_t_selector: ``[batch, num_actions]`` float, values at ``s_t`` that choose the action.

    Returns:
        ``[batch]`` TD errors.

    Raises:
        ValueError: a shape does not fit.

    >>> double_q_learning_td_error(q_tm1=torch.tensor([[1.0, 2.0]]), a_tm1=torch.tensor([1]),
    ...                            r_t=torch.tensor([1.0]), discount_t=torch.tensor([0.5]),
    ...                            q_t_target=torch.tensor([[4.0, 3.0]]),
    ...                            q_t_selector=torch.tensor([[0.0, 9.0]]))  # 1 + 0.5 * 3 - 2
    tensor([0.5000])
    """
    for name, values in (("q_t_target", q_t_target), ("q_t_selector", q_t_selector)):
        if q_tm1.dim() != 2 or values.shape != q_tm1.shape:
            raise ValueError(
                f"q_tm1 {list(q_tm1.shape)} and {name} {list(values.shape)} must both be "
                "[batch, num_actions]"
            )
    for name, values in (("a_tm1", a_tm1), ("r_t", r_t), ("discount_t", discount_t)):
        if values.shape != q_tm1.shape[:1]:
            raise ValueError(f"{name} {list(values.shape)} must be [batch] = [{len(q_tm1)}]")

    a_t = q_t_selector.argmax(dim=1)  # [batch]
    q_t = q_t_target.gather(1, a_t[:, None]).squeeze(1)  # [batch]
    target = (r_t + discount_t * q_t).detach()
    return target - q_tm1.gather(1, a_tm1[:, None]).squeeze(1)


def clipped_error_loss(td_error: torch.Tensor, *, error_bound: float | None) -> torch.Tensor:
    """Squared error whose gradient is clipped: quadratic within the bound, linear beyond.

    ::

        loss(e)  = e^2 / 2                                    where |e| <= error_bound
                 = error_bound * (|e| - error_bound / 2)      elsewhere
        dloss/de = clip(e, -error_bound, error_bound)

    The "error clipping" of Mnih et al. 2015 (Methods) clips the gradient, not the error, and is
    this Huber loss.

    Args:
        td_error: ``[batch]`` float.
        error_bound: a positive number, or None for the plain squared error ``e^2 / 2``.

    Returns:
        ``[batch]`` losses.

    Raises:
        ValueError: ``error_bound`` is not positive.

    >>> clipped_error_loss(torch.tensor([0.5, -3.0]), error_bound=1.0)
    tensor([0.1250, 2.5000])
    """
    if error_bound is None:
        return 0.5 * td_error.square()
    _check_error_bound(error_bound)
    quadratic = td_error.abs().clamp(max=error_bound)
    linear = td_error.abs() - quadratic
    return 0.5 * quadratic.square() + error_bound * linear


@dataclass(frozen=True, kw_only=True)
class QLearning:
    """The clipped TD error of (double) Q-learning; its size is the priority.

    Which of the two it is lies in the predictions: in whose values choose the next action.

    Attributes:
        error_bound: as in ``clipped_error_loss``.

    Raises:
        ValueError: ``error_bound`` is not positive.

    Example: a TD error of 1 + 0.5 * 4 - 2.

    >>> from dqn.networks.outputs import QValues
    >>> values_t = torch.tensor([[4.0, 3.0]])
    >>> predictions = Predictions(
    ...     online_tm1=QValues(torch.tensor([[1.0, 2.0]])), target_t=QValues(values_t),
    ...     selector_t=values_t, target_tm1=None)
    >>> QLearning(error_bound=1.0)(
    ...     predictions, Outcome(torch.tensor([1]), torch.tensor([1.0]), torch.tensor([0.5])))
    LossOutput(losses=tensor([0.5000]), priorities=tensor([1.]))
    """

    needs_target_tm1: ClassVar[bool] = False

    error_bound: float | None

    def __post_init__(self) -> None:
        if self.error_bound is not None:
            _check_error_bound(self.error_bound)

    def __call__(self, predictions: Predictions, outcome: Outcome) -> LossOutput:
        """Losses and priorities ``[batch]``."""
        td_error = double_q_learning_td_error(
            predictions.online_tm1.q_values,
            outcome.a_tm1,
            outcome.r_t,
            outcome.discount_t,
            predictions.target_t.q_values,
            predictions.selector_t,
        )
        losses = clipped_error_loss(td_error, error_bound=self.error_bound)
        return LossOutput(losses=losses, priorities=td_error.detach().abs())


def _check_error_bound(error_bound: float) -> None:
    if not error_bound > 0:
        raise ValueError(f"error_bound={error_bound} must be positive, or None for no bound")
