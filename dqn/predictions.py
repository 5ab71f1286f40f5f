"""From a batch of transitions to what a loss is given."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from dqn.losses.loss import Outcome, Predictions
from dqn.losses.returns import n_step_return
from dqn.networks.outputs import QOutput
from dqn.types import Batch

Forward: TypeAlias = Callable[[Tensor], QOutput]


def predict_transitions(
    network: Forward,
    target_network: Forward,
    batch: Batch,
    *,
    double_q_learning: bool,
    needs_target_tm1: bool,
) -> Predictions:
    """What both networks say of every transition.

    ::

        target_t   = target_network(s_t)
        selector_t = values of target_t, or with double_q_learning those of network(s_t)
        online_tm1 = network(s_tm1)                          the only one with a gradient

    Double Q-learning: van Hasselt et al. 2016 (arXiv:1509.06461).

    Args:
        network: from states ``[batch, *observation_shape]`` to a ``QOutput``.
        target_network: the same.
        batch: of transitions.
        double_q_learning: let the online network choose the next action.
        needs_target_tm1: also evaluate the target network at ``s_tm1``.
    """
    with torch.no_grad():
        target_t = target_network(batch.s_t)
        selector_t = network(batch.s_t).q_values if double_q_learning else target_t.q_values
        target_tm1 = target_network(batch.s_tm1) if needs_target_tm1 else None
    return Predictions(network(batch.s_tm1), target_t, selector_t, target_tm1)


def outcome_of(batch: Batch, *, discount: float, reward_clip: float | None) -> Outcome:
    """What every transition brought.

    ::

        r_t        = n-step return of clip(r_t, -reward_clip, reward_clip)
        discount_t = 0 where the return ended, else discount^num_steps

    Args:
        batch: of transitions.
        discount: of one agent step.
        reward_clip: a positive bound, or None.

    Example: a reward of 5 on the second of two steps, clipped to 1.

    >>> state = torch.zeros(1, 4)
    >>> batch = Batch(s_tm1=state, a_tm1=torch.tensor([1]), r_t=torch.tensor([[0.0, 5.0]]),
    ...               is_terminal_t=torch.tensor([False]), s_t=state, num_steps=torch.tensor([2]))
    >>> outcome_of(batch, discount=0.5, reward_clip=1.0)[1:]
    (tensor([0.5000]), tensor([0.2500]))
    """
    r_t = n_step_return(batch.r_t, discount=discount, reward_clip=reward_clip)
    discount_t = discount ** batch.num_steps.to(r_t.dtype) * ~batch.is_terminal_t
    return Outcome(batch.a_tm1, r_t, discount_t)
