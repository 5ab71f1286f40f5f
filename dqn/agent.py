"""The DQN agent: act, learn, and nothing else.

It receives its network, optimizer and loss and knows no configuration: every number is decided by
the entry point. A variant (double, dueling, another loss) is another argument, not another agent.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypedDict, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from dqn.losses import double_q_learning_td_error, n_step_return
from dqn.networks.q_network import QNetwork, QNetworkOutput
from dqn.types import Batch, IntArray, ObservationArray


class LearnOutput(NamedTuple):
    """Detached scalars of one update, left on the device: reading them is the caller's choice.

    Attributes:
        loss: ``[]`` the loss that was minimised.
        q_mean: ``[]`` mean of Q(s_tm1, ·) over the batch and all actions.
    """

    loss: Tensor
    q_mean: Tensor


class NonFiniteError(ArithmeticError):
    """A loss or a parameter is infinite or not a number: the training has come apart.

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


def epsilon_greedy(
    greedy_actions: Callable[[ObservationArray], IntArray],
    observation_t: ObservationArray,
    behaviour_epsilon: float,
    num_actions: int,
    generator: np.random.Generator,
) -> IntArray:
    """Each environment explores uniformly with probability ε, and follows the values otherwise.

    The generator advances by the same amount whatever ε is, and the network is not asked at all
    where every environment explores (the warm-up).

    Args:
        greedy_actions: observations to the actions of highest value.
        observation_t: ``[num_envs, *observation_shape]``.
        behaviour_epsilon: probability of a uniformly random action, in [0, 1].
        num_actions: size of the action set.
        generator: advanced by two draws of ``num_envs`` values.

    Returns:
        ``[num_envs]`` int64 actions.

    >>> import numpy as np
    >>> always_one = lambda observation: np.ones(len(observation), dtype=np.int64)
    >>> epsilon_greedy(always_one, np.zeros((3, 4), np.float32), 0.0, 2, np.random.default_rng(0))
    array([1, 1, 1])
    """
    num_envs = len(observation_t)
    explores = generator.random(num_envs) < behaviour_epsilon  # [num_envs]
    random_actions = generator.integers(num_actions, size=num_envs)
    if explores.all():
        return random_actions
    return np.where(explores, random_actions, greedy_actions(observation_t))


class DQN:
    """Deep Q-learning with experience replay and a target network (Mnih et al. 2015, algorithm 1).

    One update on a batch of transitions, in execution order::

        r_t        <- n-step return of clip(r_t, -reward_clip, reward_clip)
        discount_t <- 0 where the return ended, else discount^num_steps
        a_t        <- argmax_a Q_target(s_t, a), or argmax_a Q(s_t, a) with double_q_learning
        td_error   <- r_t + discount_t * Q_target(s_t, a_t) - Q(s_tm1, a_tm1)
        gradient   <- d loss(td_error) / d theta
        theta      <- optimizer(theta, gradient)
        every target_update_period_updates updates: theta_target <- theta

    Args:
        network: maps ``[batch, *observation_shape]`` to Q-values ``[batch, num_actions]``.
        target_network: the same architecture; overwritten with ``network``'s parameters here.
        optimizer: over ``network``'s parameters.
        num_actions: size of the action set; actions are ``0 .. num_actions - 1``.
        loss: reduces TD errors ``[batch]`` to the scalar that is minimised.
        double_q_learning: let the online network choose the next action (van Hasselt et al. 2016).
        discount: the per-decision discount, in [0, 1].
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
        loss: Callable[[Tensor], Tensor],
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
        self._discount = discount
        self._reward_clip = reward_clip
        self._target_update_period_updates = target_update_period_updates
        self._exploration = np.random.default_rng(exploration_seed)
        self._autocast_dtype = autocast_dtype
        self._evaluate = self._loss_and_q_values
        if compiled:
            # A graph replays hundreds of kernels with one launch; for CPUs there is no such mode.
            mode = "reduce-overhead" if device.type == "cuda" else None
            self._evaluate = torch.compile(self._evaluate, mode=mode, dynamic=False)
        self._parameters = tuple(network.parameters())
        self.target_network.requires_grad_(False)
        self._update_target_network()

    @torch.no_grad()
    def greedy_actions(self, observation_t: ObservationArray) -> IntArray:
        """The actions of highest value, ``[num_envs]`` int64; ties go to the lowest index."""
        s_t = torch.from_numpy(observation_t).to(self.device)
        return cast(IntArray, self._q_values(self.network, s_t).argmax(dim=1).cpu().numpy())

    def act(self, observation_t: ObservationArray, behaviour_epsilon: float) -> IntArray:
        """ε-greedy actions for all environments at once, ``[num_envs]`` int64."""
        return epsilon_greedy(
            self.greedy_actions,
            observation_t,
            behaviour_epsilon,
            self.num_actions,
            self._exploration,
        )

    def learn(self, batch: Batch) -> LearnOutput:
        """One update of the network's parameters; gradients stay in ``.grad`` until the next.

        Raises:
            NonFiniteError: the loss is infinite or NaN; nothing was updated. Noticed at once on
                the CPU, where looking costs nothing; on a GPU the caller looks now and then.
        """
        loss, q_tm1 = self._evaluate(batch)
        if loss.device.type == "cpu" and not math.isfinite(loss.item()):
            raise NonFiniteError(f"the loss is {loss.item()}", batch)
        for parameter in self._parameters:  # As zero_grad does, without its bookkeeping.
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        # PyTorch's fused optimizers write the weights without telling autograd, and so the native
        # torso, which lays them out again only when their versions have changed.
        increment_version(self._parameters)
        self.num_updates += 1
        if self.num_updates % self._target_update_period_updates == 0:
            self._update_target_network()
        return LearnOutput(loss=loss.detach(), q_mean=q_tm1.detach().mean())

    def state_dict(self) -> AgentState:
        """Tensors and plain values only, so that ``torch.load(weights_only=True)`` reads it."""
        return {
            "network": self.network.state_dict(),
            "target_network": self.target_network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "num_updates": self.num_updates,
            "exploration": dict(self._exploration.bit_generator.state),
        }

    def load_state_dict(self, state: AgentState) -> None:
        """Go on from ``state``; raises RuntimeError when it is of another network."""
        self.network.load_state_dict(state["network"])
        self.target_network.load_state_dict(state["target_network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.num_updates = state["num_updates"]
        self._exploration.bit_generator.state = state["exploration"]

    def _loss_and_q_values(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The scalar to be minimised, and ``[batch, num_actions]`` Q(s_tm1, ·)."""
        r_t = n_step_return(batch.r_t, discount=self._discount, reward_clip=self._reward_clip)
        discount_t = (
            self._discount ** batch.num_steps.to(r_t.dtype) * ~batch.is_terminal_t
        )  # [batch]
        with torch.no_grad():
            q_t_target = self._q_values(self.target_network, batch.s_t)  # [batch, num_actions]
            q_t_selector = (
                self._q_values(self.network, batch.s_t) if self._double_q_learning else q_t_target
            )
        q_tm1 = self._q_values(self.network, batch.s_tm1)  # [batch, num_actions]
        loss = self._loss(
            double_q_learning_td_error(
                q_tm1, batch.a_tm1, r_t, discount_t, q_t_target, q_t_selector
            )
        )
        return loss, q_tm1

    def _q_values(self, network: QNetwork, states: Tensor) -> Tensor:
        output: QNetworkOutput
        if self._autocast_dtype is None:  # Autocast takes time to enter even where it is disabled.
            output = network(states)
        else:
            with torch.autocast(self.device.type, dtype=self._autocast_dtype):
                output = network(states)
        return output.q_values

    def _update_target_network(self) -> None:
        self.target_network.load_state_dict(self.network.state_dict())
