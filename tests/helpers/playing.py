"""Policies and networks that tests put together by hand."""

import numpy as np

from dqn.exploration import EpsilonGreedy, GreedyPolicy
from dqn.networks.q_network import QNetwork
from dqn.networks.readouts import Scalar
from dqn.networks.streams import LinearStream


def epsilon_greedy(greedy_actions, num_actions, *, epsilon=0.0, seed=0):
    """The policy that follows ``greedy_actions`` of observations, except with probability ε."""
    generator = np.random.default_rng(seed)
    return EpsilonGreedy(
        GreedyPolicy(greedy_actions), num_actions, epsilon=epsilon, generator=generator
    )


def q_network(torso, observation_shape, num_actions):
    """A torso, built from the shape of observations, and a linear layer of one value an action."""
    built = torso(observation_shape)
    return QNetwork(built, LinearStream(built.num_features, num_actions, 1), Scalar())
