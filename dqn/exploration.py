"""Acting: policies over whole time steps, and the random actions around them."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np

from dqn.types import IntArray, ObservationArray, TimeStep


class Policy(Protocol):
    """Chooses the actions of all environments at once, ``[num_envs]`` int64.

    It is given the whole time step: a policy with a memory clears it where ``is_first_t``.
    """

    def __call__(self, time_step: TimeStep) -> IntArray: ...


GreedyActions: TypeAlias = Callable[[ObservationArray], IntArray]


class GreedyPolicy:
    """The actions of highest value; it remembers nothing.

    Args:
        greedy_actions: from observations ``[num_envs, *observation_shape]`` to actions.
    """

    def __init__(self, greedy_actions: GreedyActions) -> None:
        self._greedy_actions = greedy_actions

    def __call__(self, time_step: TimeStep) -> IntArray:
        """``[num_envs]`` int64 actions."""
        return self._greedy_actions(time_step.observation_t)


class EpsilonGreedy:
    """Each environment explores uniformly with probability ε, and follows a policy otherwise.

    The generator advances by the same amount whatever ε is, and the policy is not asked at all
    where every environment explores (the warm-up).

    Args:
        policy: followed otherwise.
        num_actions: size of the action set.
        epsilon: probability of a uniformly random action, in [0, 1]; may be set between calls.
        generator: advanced by two draws of ``num_envs`` values a call.

    >>> from dqn.environments.accounting import opening_time_step
    >>> time_step = opening_time_step(np.zeros((3, 4), np.float32))
    >>> always_one = GreedyPolicy(lambda observation_t: np.ones(len(observation_t), dtype=np.int64))
    >>> EpsilonGreedy(always_one, 2, epsilon=0.0, generator=np.random.default_rng(0))(time_step)
    array([1, 1, 1])
    """

    def __init__(
        self, policy: Policy, num_actions: int, *, epsilon: float, generator: np.random.Generator
    ) -> None:
        self.epsilon = epsilon
        self.generator = generator
        self._policy = policy
        self._num_actions = num_actions

    def __call__(self, time_step: TimeStep) -> IntArray:
        """``[num_envs]`` int64 actions."""
        num_envs = len(time_step.is_first_t)
        explores = self.generator.random(num_envs) < self.epsilon  # [num_envs]
        random_actions = self.generator.integers(self._num_actions, size=num_envs)
        if explores.all():
            return random_actions
        return np.where(explores, random_actions, self._policy(time_step))
