"""Runs of seconds: configured as by the command line, and their metrics read back."""

import json
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from dqn.config import CONFIG_DIR, TrainConfig, validate

# Every number that a test counts with is stated: the experiment may be tuned anew.
CARTPOLE = (
    "experiment=cartpole",
    "network.hidden_sizes=[16]",
    "total_agent_steps=400",
    "agent.discount=0.99",
    "agent.batch_size=32",
    "agent.agent_steps_per_update=4",
    "agent.warmup_agent_steps=64",
    "agent.target_update_period_agent_steps=40",
    "replay.capacity=1000",
    "evaluation.period_agent_steps=200",
    "evaluation.num_games=4",
    "evaluation.max_num_envs=2",
    "evaluation.stop_at_return_mean=null",
    "logging.period_agent_steps=50",
    "checkpoint.period_agent_steps=100",
)
# Games of Pong last thousands of steps: the video of one is a test of its own.
PONG = (
    "experiment=pong",
    "env.num_envs=2",
    "network=nips_cnn",
    "total_agent_steps=300",
    "agent.warmup_agent_steps=200",
    "agent.target_update_period_agent_steps=20",
    "replay.capacity=400",
    "evaluation.num_games=1",
    "evaluation.epsilon=null",
    "evaluation.video=false",
    "logging.period_agent_steps=50",
)
# Returns of three steps and double Q-learning, on an observation without a stack.
MINATAR = (
    "experiment=minatar",
    "env.game=asterix",
    "agent.n_step=3",
    "agent.double_q_learning=true",
    "agent.agent_steps_per_update=4",
    "agent.warmup_agent_steps=64",
    "agent.target_update_period_agent_steps=40",
    "total_agent_steps=600",
    "replay.capacity=400",
    "evaluation.period_agent_steps=200",
    "evaluation.num_games=2",
    "logging.period_agent_steps=50",
)


def compose_config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def tiny_config(run_dir: Path, *overrides: str, base: tuple[str, ...] = CARTPOLE) -> TrainConfig:
    return validate(compose_config(*base, f"run_dir={run_dir}", *overrides))


def read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def repeatable(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    """Lines without what depends on the clock."""
    return [
        {
            key: value
            for key, value in line.items()
            if not key.startswith("speed/") and not key.endswith("_seconds")
        }
        for line in lines
    ]
