"""What a loss is given and what it gives: the joint between networks and the agent.

Time is in the suffix, as in rlax: in ``s_tm1`` the agent took ``a_tm1`` and received ``r_t``,
``discount_t`` and ``s_t``. Everything is batched along the first axis.
"""

from typing import NamedTuple, Protocol

from torch import Tensor

from dqn.networks.outputs import QOutput


class Predictions(NamedTuple):
    """What the networks say of a batch of transitions.

    Attributes:
        online_tm1: the online network at ``s_tm1``; gradients flow into it alone.
        target_t: the target network at ``s_t``, constants.
        selector_t: ``[batch, num_actions]`` values that choose the next action, constants: the
            target network's, or with double Q-learning the online network's.
        target_tm1: the target network at ``s_tm1``, constants; None unless the loss needs it.
    """

    online_tm1: QOutput
    target_t: QOutput
    selector_t: Tensor
    target_tm1: QOutput | None


class Outcome(NamedTuple):
    """What happened in a batch of transitions.

    Attributes:
        a_tm1: ``[batch]`` int64, the actions taken.
        r_t: ``[batch]`` float, the return on the way to ``s_t``, rewards clipped.
        discount_t: ``[batch]`` float, of what follows: 0 where the return ended.
    """

    a_tm1: Tensor
    r_t: Tensor
    discount_t: Tensor


class LossOutput(NamedTuple):
    """One loss and one priority a transition.

    Attributes:
        losses: ``[batch]``; the agent weighs, reduces and differentiates them.
        priorities: ``[batch]``, detached and not negative: how much a prioritized replay wants
            to see the transition again.
    """

    losses: Tensor
    priorities: Tensor


class Loss(Protocol):
    """A map from predictions and outcomes to one loss a transition.

    Attributes:
        needs_target_tm1: whether it reads ``Predictions.target_tm1``.
    """

    @property
    def needs_target_tm1(self) -> bool: ...

    def __call__(self, predictions: Predictions, outcome: Outcome) -> LossOutput: ...
