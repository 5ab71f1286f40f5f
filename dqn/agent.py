"""The DQN agent: act, learn, and nothing else.

It receives its network, optimizer and loss and knows no configuration: every number is decided by
the entry point. A variant is another network, loss or replay, not another agent.
"""

import math
from typing import Literal, NamedTuple, TypeAlias, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from dqn.exploration import EpsilonGreedy, GreedyPolicy
from dqn.losses.loss import Loss
from dqn.networks.native import note_written
from dqn.networks.outputs import QOutput
from dqn.networks.q_network import QNetwork
from dqn.predictions import outcome_of, predict_transitions
from dqn.types import Batch, IntArray, ObservationArray, TimeStep

Reduction: TypeAlias = Literal["sum", "mean"]


class LearnOutput(NamedTuple):
    """Detached scalars of one update, left on the device: reading them is the caller's choice.

    Attributes:
        loss: ``[]`` the loss that was minimised.
        q_mean: ``[]`` mean of Q(s_tm1, ·) over the batch and all actions.
        priorities: ``[batch]`` how much a prioritized replay wants to see each transition again.
    """

    loss: Tensor
    q_mean: Tensor
    priorities: Tensor


class NonFiniteError(ArithmeticError):
    """A loss or a parameter is infinite or not a number: training cannot continue.

    Attributes:
        batch: the transitions it happened with, or None where they are not known any more.
    """

    def __init__(self, message: str, batch: Batch | None) -> None:
        super().__init__(message)
        self.batch = batch


class AgentState(TypedDict):
    """Everything ``DQN.load_state_dict`` needs to go on exactly where ``state_dict`` stood."""

    network: dict[str, Tensor]
    target_network: dict[str, Tensor]
    optimizer: dict[str, object]
    num_updates: int
    exploration: dict[str, object]


def reduce_losses(losses: Tensor, weights: Tensor | None, reduction: Reduction) -> Tensor:
    """The scalar that is minimised.

    ::

        loss = sum over the batch of weights * losses          or its mean

    DeepMind's code (google-deepmind/dqn, ``dqn/NeuralQLearner.lua``) *sums* over the batch. A mean
    divides the gradient by the batch size, which an RMSprop with a constant inside or beside its
    root does not undo unless that constant is rescaled too.

    Args:
        losses: ``[batch]``.
        weights: ``[batch]``, or None where every transition counts once.
        reduction: ``"sum"`` or ``"mean"``.

    Raises:
        ValueError: the reduction is another word.

    >>> reduce_losses(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.5]), "mean")
    tensor(1.)
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction={reduction!r} must be 'sum' or 'mean'")
    weighted = losses if weights is None else weights * losses
    return weighted.sum() if reduction == "sum" else weighted.mean()


class DQN:
    """Deep Q-learning with experience replay and a target network (Mnih et al. 2015, algorithm 1).

    One update on a batch of transitions, in execution order::

        predictions <- what both networks say at s_tm1 and s_t
        outcome     <- a_tm1, n-step return r_t of clipped rewards, discount_t
        losses      <- loss(predictions, outcome)                    one a transition
        gradient    <- d reduction(weights * losses) / d theta
        gradient    <- gradient * min(1, max_grad_norm / ||gradient||)   with max_grad_norm
        theta       <- optimizer(theta, gradient)
        every target_update_period_updates updates: theta_target <- theta

    Args:
        network: maps ``[batch, *observation_shape]`` to values of ``num_actions`` actions.
        target_network: the same architecture; overwritten with ``network``'s parameters here.
        optimizer: over ``network``'s parameters.
        num_actions: size of the action set; actions are ``0 .. num_actions - 1``.
        loss: of each transition.
        reduction: of the losses to the scalar that is minimised, ``"sum"`` or ``"mean"``.
        max_grad_norm: gradients whose global norm is larger are scaled down to it; None for none.
        double_q_learning: let the online network choose the next action (van Hasselt et al. 2016).
        discount: of one agent step, in [0, 1].
        reward_clip: rewards are clipped to ± this bound, or None to learn from raw scores.
        target_update_period_updates: updates between copies to the target network.
        exploration_seed: of the generator behind ε-greedy actions.
        device: where networks and batches live.
        autocast_dtype: run the networks under autocast in this type (bfloat16), or None for fp32.
        compiled: compute loss and gradients by ``torch.compile``, on a GPU as a CUDA graph.
    """

    def __init__(
        self,
        *,
        network: QNetwork,
        target_network: QNetwork,
        optimizer: torch.optim.Optimizer,
        num_actions: int,
        loss: Loss,
        reduction: Reduction,
        max_grad_norm: float | None,
        double_q_learning: bool,
        discount: float,
        reward_clip: float | None,
        target_update_period_updates: int,
        exploration_seed: int,
        device: torch.device,
        autocast_dtype: torch.dtype | None,
        compiled: bool,
    ) -> None:
        self.network = network
        self.target_network = target_network
        self.optimizer = optimizer
        self.num_actions = num_actions
        self.num_updates = 0
        self.device = device
        self._double_q_learning = double_q_learning
        self._loss = loss
        self._reduction = reduction
        self._max_grad_norm = max_grad_norm
        self._discount = discount
        self._reward_clip = reward_clip
        self._target_update_period_updates = target_update_period_updates
        self._behaviour = EpsilonGreedy(
            self.greedy_policy(),
            num_actions,
            epsilon=1.0,
            generator=np.random.default_rng(exploration_seed),
        )
        self._autocast_dtype = autocast_dtype
        self._compute = self._compute_loss
        if compiled:
            # A graph replays hundreds of kernels with one launch; for CPUs there is no such mode.
            mode = "reduce-overhead" if device.type == "cuda" else None
            self._compute = torch.compile(self._compute, mode=mode, dynamic=False)
        self._parameters = tuple(network.parameters())
        self.target_network.requires_grad_(False)
        self._update_target_network()

    @torch.no_grad()
    def greedy_actions(self, observation_t: ObservationArray) -> IntArray:
        """The actions of highest value, ``[num_envs]`` int64; ties go to the lowest index."""
        s_t = torch.from_numpy(observation_t).to(self.device)
        q_values = self._forward(self.network, s_t).q_values
        return cast(IntArray, q_values.argmax(dim=1).cpu().numpy())

    def greedy_policy(self) -> GreedyPolicy:
        """The policy of the network as it is at each call."""
        return GreedyPolicy(self.greedy_actions)

    def act(self, time_step: TimeStep, behaviour_epsilon: float) -> IntArray:
        """ε-greedy actions for all environments at once, ``[num_envs]`` int64."""
        self._behaviour.epsilon = behaviour_epsilon
        return self._behaviour(time_step)

    def learn(self, batch: Batch) -> LearnOutput:
        """One update of the network's parameters; gradients stay in ``.grad`` until the next.

        Raises:
            NonFiniteError: the loss is infinite or NaN; nothing was updated. Noticed at once on
                the CPU, where looking costs nothing; on a GPU the caller looks now and then.
        """
        loss, priorities, q_tm1 = self._compute(batch)
        if loss.device.type == "cpu" and not math.isfinite(loss.item()):
            raise NonFiniteError(f"the loss is {loss.item()}", batch)
        for parameter in self._parameters:  # As zero_grad does, without its bookkeeping.
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if self._max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        self.optimizer.step()
        note_written(self._parameters)
        self.num_updates += 1
        if self.num_updates % self._target_update_period_updates == 0:
            self._update_target_network()
        return LearnOutput(loss.detach(), q_tm1.detach().mean(), priorities)

    def state_dict(self) -> AgentState:
        """Tensors and plain values only, so that ``torch.load(weights_only=True)`` reads it."""
        return {
            "network": self.network.state_dict(),
            "target_network": self.target_network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "num_updates": self.num_updates,
            "exploration": dict(self._behaviour.generator.bit_generator.state),
        }

    def load_state_dict(self, state: AgentState) -> None:
        """Go on from ``state``; raises RuntimeError when it is of another network."""
        self.network.load_state_dict(state["network"])
        self.target_network.load_state_dict(state["target_network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.num_updates = state["num_updates"]
        self._behaviour.generator.bit_generator.state = state["exploration"]

    def _compute_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The scalar to be minimised, ``[batch]`` priorities, ``[batch, num_actions]`` values."""
        predictions = predict_transitions(
            self._forward_online,
            self._forward_target,
            batch,
            double_q_learning=self._double_q_learning,
            needs_target_tm1=self._loss.needs_target_tm1,
        )
        outcome = outcome_of(batch, discount=self._discount, reward_clip=self._reward_clip)
        losses, priorities = self._loss(predictions, outcome)
        loss = reduce_losses(losses, batch.weights, self._reduction)
        return loss, priorities, predictions.online_tm1.q_values

    def _forward_online(self, states: Tensor) -> QOutput:
        return self._forward(self.network, states)

    def _forward_target(self, states: Tensor) -> QOutput:
        return self._forward(self.target_network, states)

    def _forward(self, network: QNetwork, states: Tensor) -> QOutput:
        output: QOutput
        if self._autocast_dtype is None:  # Autocast takes time to enter even where it is disabled.
            output = network(states)
        else:
            with torch.autocast(self.device.type, dtype=self._autocast_dtype):
                output = network(states)
        return output

    def _update_target_network(self) -> None:
        self.target_network.load_state_dict(self.network.state_dict())
