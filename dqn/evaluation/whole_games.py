"""Evaluation: whole games with the policy of the moment, in environments of their own."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dqn.environments import VectorEnvironment
from dqn.exploration import Policy


class Evaluation(NamedTuple):
    """Outcome of one evaluation.

    Attributes:
        returns: undiscounted, unclipped score of each whole game, in order of environments.
        lengths: agent steps of each game.
    """

    returns: list[float]
    lengths: list[int]

    @property
    def return_mean(self) -> float:
        """Arithmetic mean over games."""
        return float(np.mean(self.returns))

    @property
    def return_std(self) -> float:
        """Standard deviation over games (population, ddof 0)."""
        return float(np.std(self.returns))


def evaluate(
    environment: VectorEnvironment,
    policy: Policy,
    *,
    num_games: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Play ``num_games`` whole games; deterministic if environment and policy are.

    Every environment plays the same number of games, decided beforehand: counting the first
    ``num_games`` to finish would prefer short games, which are the bad ones in most of Atari.

    Args:
        environment: freshly seeded, built for evaluation; reset here.
        policy: plays.
        num_games: a multiple of ``environment.num_envs``.
        should_stop: polled at every step; when it turns true the evaluation is given up.

    Returns:
        The games' returns and lengths, or None when stopped before the last game ended.

    Raises:
        ValueError: when the games cannot be shared out evenly.
    """
    if num_games < 1 or num_games % environment.num_envs:
        raise ValueError(
            f"evaluation.num_games={num_games}: must be a positive multiple of the "
            f"{environment.num_envs} evaluation environments"
        )
    games_per_env = num_games // environment.num_envs
    returns: list[list[float]] = [[] for _ in range(environment.num_envs)]
    lengths: list[list[int]] = [[] for _ in range(environment.num_envs)]
    time_step = environment.reset()
    while any(len(games) < games_per_env for games in returns):
        if should_stop():
            return None
        time_step = environment.step(policy(time_step))
        for env in np.flatnonzero(time_step.is_last_t):
            if len(returns[env]) < games_per_env:
                returns[env].append(float(time_step.episode_return_t[env]))
                lengths[env].append(int(time_step.episode_length_t[env]))
    return Evaluation(
        returns=[score for games in returns for score in games],
        lengths=[steps for games in lengths for steps in games],
    )
