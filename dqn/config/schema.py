"""The typed schema of ``dqn-train``'s configuration.

It holds no defaults: every value is stated, with its provenance, in a YAML file.
"""

from dataclasses import dataclass
from typing import Any


@dataclass
class EnvConfig:
    kind: str
    id: str | None
    game: str
    protocol: str | None
    num_envs: int
    num_threads: int


@dataclass
class EpsilonConfig:
    begin: float
    end: float
    decay_agent_steps: int


@dataclass
class LearningRateConfig:
    begin_factor: float
    end_factor: float
    decay_agent_steps: int


@dataclass
class AgentConfig:
    discount: float
    double_q_learning: bool
    n_step: int
    error_bound: float | None
    loss_reduction: str
    batch_size: int
    agent_steps_per_update: int
    warmup_agent_steps: int
    target_update_period_agent_steps: int
    epsilon: EpsilonConfig
    learning_rate: LearningRateConfig


@dataclass
class NetworkConfig:
    torso: str
    hidden_sizes: list[int]
    input_scale: list[float]
    implementation: str


@dataclass
class ReplayConfig:
    capacity: int
    compressed: bool


@dataclass
class EvaluationConfig:
    period_agent_steps: int
    num_games: int
    max_num_envs: int
    epsilon: float | None
    stop_at_return_mean: float | None
    video: bool


@dataclass
class LoggingConfig:
    period_agent_steps: int
    histograms: bool


@dataclass
class CheckpointConfig:
    period_agent_steps: int


@dataclass
class TrainConfig:
    """The whole of ``dqn-train``'s configuration, as ``configs/train.yaml`` composes it."""

    env: EnvConfig
    agent: AgentConfig
    network: NetworkConfig
    replay: ReplayConfig
    optimizer: dict[str, Any]
    evaluation: EvaluationConfig
    logging: LoggingConfig
    checkpoint: CheckpointConfig
    seed: int
    total_agent_steps: int
    device: str
    precision: str
    compile: bool
    num_threads: int
    concurrent: bool
    run_dir: str
    overwrite: bool


@dataclass
class EvaluateConfig:
    """The whole of ``dqn-evaluate``'s configuration, as ``configs/evaluate.yaml`` states it."""

    run_dir: str
    weights: str
    out_dir: str
    protocol: str | None
    num_games: int
    max_num_envs: int
    epsilon: float | None
    seed: int
    human_scores: str
    device: str
    num_threads: int
    video: bool
