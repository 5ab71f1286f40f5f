"""DQN with DeepMind's RMSprop learns MinAtar's Breakout from its pixels' planes, in two minutes.

A policy that acts at random scores about 0.5 (measured below); the five games of an untrained
greedy network score 0 or 1.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.playing import epsilon_greedy
from helpers.tiny_runs import compose_config

from dqn.config import validate
from dqn.environments import MINATAR_PROTOCOLS, MinAtarEnvironment
from dqn.evaluation.whole_games import evaluate
from dqn.run.lifecycle import train

pytest.importorskip("minatar", reason="needs rmsprop-dqn[minatar]")

RANDOM_RETURN_BOUND = 0.8
LEARNED_RETURN = 3.0


def test_random_play_scores_half_a_point() -> None:
    environment = MinAtarEnvironment(
        "breakout", protocol=MINATAR_PROTOCOLS["minatar_v1"], num_envs=50, seed=0
    )
    evaluation = evaluate(
        environment,
        epsilon_greedy(
            lambda observation_t: np.zeros(len(observation_t), dtype=np.int64),
            environment.num_actions,
            epsilon=1.0,
        ),
        num_games=500,
    )
    assert evaluation is not None
    assert 0.2 < evaluation.return_mean < RANDOM_RETURN_BOUND


@pytest.mark.learning
def test_breakout_is_learned_well_beyond_random_play(tmp_path: Path) -> None:
    config = validate(
        compose_config(
            "experiment=minatar",
            "env.game=breakout",
            "total_agent_steps=100_000",
            "agent.epsilon.decay_agent_steps=50_000",
            "evaluation.period_agent_steps=100_000",
            "evaluation.num_games=100",
            "evaluation.max_num_envs=50",
            "logging.histograms=false",
            f"run_dir={tmp_path / 'run'}",
        )
    )
    train(config, label="minatar")
    lines = (tmp_path / "run" / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    print(f"{last['return_mean']} at step {last['step']}", file=sys.stderr)
    assert len(last["returns"]) == 100
    assert last["return_mean"] > LEARNED_RETURN
