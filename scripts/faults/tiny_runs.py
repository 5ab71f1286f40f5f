"""Runs of seconds, as overrides of the command line, and their metrics read back."""

import json
from pathlib import Path

# Every number that a test counts with is stated, because the experiment may be tuned anew.
CARTPOLE = (
    "experiment=cartpole",
    "network.torso.hidden_sizes=[16]",
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


def read_lines(path: Path) -> list[dict[str, object]]:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def is_repeatable(tag: str) -> bool:
    """Whether a metric does not depend on the clock."""
    return not tag.startswith("speed/") and not tag.endswith("_seconds")


def repeatable(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    """Lines without what depends on the clock."""
    return [{tag: value for tag, value in line.items() if is_repeatable(tag)} for line in lines]
