"""Evaluation on games whose scores are written down beforehand."""

import numpy as np
import pytest
from helpers.playing import epsilon_greedy
from helpers.scripted_environment import Game, ScriptedEnvironment

from dqn.environments import ControlEnvironment
from dqn.evaluation.whole_games import Evaluation, evaluate


def always_zero(time_step):
    return np.zeros(len(time_step.is_first_t), np.int64)


def test_every_environment_plays_its_share_however_long_its_games_are():
    environment = ScriptedEnvironment([[Game(1, 0.0)], [Game(10, 100.0)]])
    evaluation = evaluate(environment, always_zero, num_games=4)
    # The first four games to finish would all be those of environment 0: mean 0 instead of 50.
    assert evaluation == Evaluation(returns=[0.0, 0.0, 100.0, 100.0], lengths=[1, 1, 10, 10])
    assert evaluation.return_mean == 50.0
    assert evaluation.return_std == 50.0


def test_games_are_counted_in_order_and_only_as_many_as_asked_for():
    games = [[Game(2, 1.0), Game(3, 2.0), Game(1, 4.0)], [Game(4, 8.0), Game(5, 16.0, is_cut=True)]]
    evaluation = evaluate(
        ScriptedEnvironment(games),
        always_zero,
        num_games=4,
    )
    assert evaluation.returns == [1.0, 2.0, 8.0, 16.0]
    assert evaluation.lengths == [2, 3, 4, 5]


def test_policy_sees_the_observation_and_epsilon_mixes_in_random_actions():
    environment = ScriptedEnvironment([[Game(2000, 1.0)]] * 5)
    seen = []

    def greedy_actions(observation):
        seen.append(observation[:, 2].tolist())
        return np.zeros(len(observation), np.int64)

    evaluate(environment, epsilon_greedy(greedy_actions, 2, epsilon=0.1), num_games=5)
    assert seen[:2] == [[0.0] * 5, [1.0] * 5]
    share = np.mean(np.stack(environment.actions))
    # Half of the random actions are action 1: 0.05 of 10,000, five standard deviations.
    assert abs(share - 0.05) < 5 * np.sqrt(0.05 * 0.95 / 10_000)


def play_cartpole(exploration_seed, environment_seed=0):
    environment = ControlEnvironment("CartPole-v1", num_envs=2, seed=environment_seed)
    evaluation = evaluate(
        environment,
        epsilon_greedy(
            lambda observation: (observation[:, 2] > 0).astype(np.int64),
            2,
            epsilon=0.3,
            seed=exploration_seed,
        ),
        num_games=6,
    )
    environment.close()
    return evaluation


def test_seeds_decide_the_result():
    assert play_cartpole(0) == play_cartpole(0)
    assert play_cartpole(0) != play_cartpole(1)
    assert play_cartpole(0) != play_cartpole(0, environment_seed=7)


def test_stopped_half_way_it_has_no_result():
    environment = ScriptedEnvironment([[Game(10, 1.0)]])
    evaluation = evaluate(
        environment,
        always_zero,
        num_games=2,
        should_stop=lambda: len(environment.actions) == 15,
    )
    assert evaluation is None
    assert len(environment.actions) == 15


@pytest.mark.parametrize("num_games", [0, -2, 3])
def test_games_that_cannot_be_shared_out_are_refused_in_one_line(num_games):
    with pytest.raises(ValueError, match="num_games") as error:
        evaluate(
            ScriptedEnvironment([[Game(1, 0.0)]] * 2),
            always_zero,
            num_games=num_games,
        )
    assert str(error.value) == (
        f"evaluation.num_games={num_games}: must be a positive multiple of the 2 evaluation "
        "environments"
    )
