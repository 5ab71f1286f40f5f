"""DQN with DeepMind's RMSprop learns CartPole: the one test of the whole that can fail by learning.

An untrained network, greedy as the evaluation is, keeps the pole up for about 9 steps (it pushes
one way); a policy that acts at random for about 22; the task counts as solved at 475 of 500
(Gymnasium's ``reward_threshold``).
"""

import json
import sys
from pathlib import Path

import pytest
from helpers.tiny_runs import compose_config

from dqn.config import validate
from dqn.run.lifecycle import train

SOLVED_RETURN = 475.0
UNTRAINED_RETURN_BOUND = 60.0


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    run_dir: Path = tmp_path_factory.mktemp("cartpole")
    config = validate(compose_config("experiment=cartpole", "seed=2", f"run_dir={run_dir}"))
    train(config, label="cartpole")
    lines = (run_dir / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_cartpole_is_solved_over_a_hundred_whole_games(
    evaluations: list[dict[str, object]],
) -> None:
    last = evaluations[-1]
    print(f"{last['return_mean']} at step {last['step']}", file=sys.stderr)
    assert len(last["returns"]) == 100
    assert last["return_mean"] >= SOLVED_RETURN


def test_the_untrained_network_is_nowhere_near(evaluations: list[dict[str, object]]) -> None:
    # The warm-up makes 1,000 of the first evaluation's steps without any update.
    first = evaluations[0]
    assert first["updates"] <= 10
    assert first["return_mean"] < UNTRAINED_RETURN_BOUND
