"""The typed schema of ``dqn-train``'s configuration.

It holds no defaults: every value is stated, with its provenance, in a YAML file. What depends on a
``kind`` is not here: ``components.py`` reads it off the classes that the kind names.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

# ``kind`` and the options of that kind, checked against its constructor.
Component: TypeAlias = dict[str, Any]


@dataclass
class ChoicesConfig:
    """The names of what was chosen, for directories, tables and pictures.

    Experiment and optimizer are null in runs of earlier versions.
    """

    experiment: str | None
    variant: str
    optimizer: str | None


@dataclass
class EnvConfig:
    """What every kind of environment has; ``components.env_schema`` adds the kind's own."""

    kind: str
    game: str
    num_envs: int


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
    loss_reduction: str
    max_grad_norm: float | None
    batch_size: int
    agent_steps_per_update: int
    warmup_agent_steps: int
    target_update_period_agent_steps: int
    epsilon: EpsilonConfig
    learning_rate: LearningRateConfig


@dataclass
class NetworkConfig:
    torso: Component
    stream: Component
    readout: Component


@dataclass
class ReplayConfig:
    capacity: int
    compressed: bool
    sampler: Component


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

    choices: ChoicesConfig
    env: EnvConfig
    agent: AgentConfig
    network: NetworkConfig
    loss: Component
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
