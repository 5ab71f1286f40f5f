"""Temporal-difference errors and the loss on them: pure functions of tensors.

Time is in the suffix, as in rlax: in ``s_tm1`` the agent took ``a_tm1`` and received ``r_t``,
``discount_t`` and ``s_t``. Everything is batched along the first axis. ``discount_t`` is 0 where
the return ended and gamma elsewhere, truncation included.

A TD error is *target minus prediction*; gradients flow into the prediction ``q_tm1`` only.
"""

from typing import Literal, TypeAlias

import torch

Reduction: TypeAlias = Literal["sum", "mean"]


def n_step_return(r_t: torch.Tensor, *, discount: float, reward_clip: float | None) -> torch.Tensor:
    """Discounted sum of the rewards on the way from ``s_tm1`` to ``s_t``, each clipped first.

    ::

        return = sum_i discount^i * clip(r_t[i], -reward_clip, reward_clip)

    Sutton & Barto 2018, "Reinforcement Learning", section 7.1; in DQN, Hessel et al. 2018
    (arXiv:1710.02298), "Multi-step learning", without correction for what the policy has become.

    Args:
        r_t: ``[batch, n_step]`` float, zeros behind the end; or ``[batch]`` for one step.
        discount: of one decision.
        reward_clip: a positive bound, or None.

    Returns:
        ``[batch]``.

    >>> n_step_return(torch.tensor([[5.0, 1.0, -2.0]]), discount=0.5, reward_clip=1.0)
    tensor([1.2500])
    """
    if reward_clip is not None:
        r_t = r_t.clamp(-reward_clip, reward_clip)
    if r_t.dim() == 1:
        return r_t
    discounts = discount ** torch.arange(r_t.shape[1], device=r_t.device, dtype=r_t.dtype)
    return (r_t * discounts).sum(dim=1)


def q_learning_td_error(
    q_tm1: torch.Tensor,
    a_tm1: torch.Tensor,
    r_t: torch.Tensor,
    discount_t: torch.Tensor,
    q_t_target: torch.Tensor,
) -> torch.Tensor:
    """TD error of Q-learning.

    ::

        td_error = r_t + discount_t * max_a q_t_target[a] - q_tm1[a_tm1]

    Watkins & Dayan 1992, "Q-learning", Machine Learning 8; with ``q_t_target`` from a target
    network it is the error of Mnih et al. 2015, "Human-level control through deep reinforcement
    learning", Nature 518, algorithm 1.

    Args:
        q_tm1: ``[batch, num_actions]`` float, values at ``s_tm1``; differentiated.
        a_tm1: ``[batch]`` int64, the actions taken.
        r_t: ``[batch]`` float rewards.
        discount_t: ``[batch]`` float discounts.
        q_t_target: ``[batch, num_actions]`` float, values at ``s_t``; taken as constants.

    Returns:
        ``[batch]`` TD errors.

    Raises:
        ValueError: a shape does not fit.

    >>> q_learning_td_error(q_tm1=torch.tensor([[1.0, 2.0]]), a_tm1=torch.tensor([1]),
    ...                     r_t=torch.tensor([1.0]), discount_t=torch.tensor([0.5]),
    ...                     q_t_target=torch.tensor([[4.0, 3.0]]))  # 1 + 0.5 * 4 - 2
    tensor([1.])
    """
    return double_q_learning_td_error(
        q_tm1, a_tm1, r_t, discount_t, q_t_target, q_t_selector=q_t_target
    )


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

    With ``q_t_selector`` equal to ``q_t_target`` this is Q-learning. van Hasselt, Guez & Silver
    2016, "Deep Reinforcement Learning with Double Q-learning" (arXiv:1509.06461), where the
    selector is the online network at ``s_t``.

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


def clipped_error_loss(
    td_error: torch.Tensor, *, error_bound: float | None = 1.0, reduction: Reduction
) -> torch.Tensor:
    """Squared error whose gradient is clipped: quadratic within the bound, linear beyond.

    ::

        loss(e)  = e^2 / 2                                    where |e| <= error_bound
                 = error_bound * (|e| - error_bound / 2)      elsewhere
        dloss/de = clip(e, -error_bound, error_bound)

    The "error clipping" of Mnih et al. 2015 (Methods) clips the gradient, not the error, and is
    this Huber loss. Their code (google-deepmind/dqn, ``dqn/NeuralQLearner.lua``) *sums* over the
    batch; a mean divides the gradient by the batch size, which an RMSprop with a constant inside
    or beside its root does not undo unless that constant is rescaled too.

    Args:
        td_error: ``[batch]`` float.
        error_bound: a positive number, or None for the plain squared error ``e^2 / 2``.
        reduction: over the batch, ``"sum"`` or ``"mean"``.

    Returns:
        A scalar.

    Raises:
        ValueError: ``error_bound`` is not positive, or the reduction is another word.

    >>> clipped_error_loss(torch.tensor([0.5, -3.0]), reduction="sum")  # 0.125 + 2.5
    tensor(2.6250)
    """
    if error_bound is not None and not error_bound > 0:
        raise ValueError(f"error_bound={error_bound} must be positive, or None for no bound")
    if error_bound is None:
        losses = 0.5 * td_error.square()
    else:
        quadratic = td_error.abs().clamp(max=error_bound)
        linear = td_error.abs() - quadratic
        losses = 0.5 * quadratic.square() + error_bound * linear
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        return losses.mean()
    raise ValueError(f"reduction={reduction!r} must be 'sum' or 'mean'")
