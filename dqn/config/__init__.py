"""Configurations: where they live, their typed schema, and what a wrong one is answered with."""

from dqn.config.allowed_code import check_arguments
from dqn.config.errors import ConfigError
from dqn.config.explanation import explain
from dqn.config.files import CONFIG_DIR, flatten, load_config, save_config
from dqn.config.schema import EnvConfig, EvaluateConfig, NetworkConfig, TrainConfig
from dqn.config.validation import (
    load_train_config,
    optimizer_class,
    validate,
    validate_evaluation,
)

__all__ = [
    "CONFIG_DIR",
    "ConfigError",
    "EnvConfig",
    "EvaluateConfig",
    "NetworkConfig",
    "TrainConfig",
    "check_arguments",
    "explain",
    "flatten",
    "load_config",
    "load_train_config",
    "optimizer_class",
    "save_config",
    "validate",
    "validate_evaluation",
]
