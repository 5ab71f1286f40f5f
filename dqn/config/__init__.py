"""Configurations: where they live, their typed schema, and what a wrong one is answered with."""

from dqn.config.allowed_code import check_arguments
from dqn.config.composition import compose_config
from dqn.config.errors import ConfigError
from dqn.config.explanation import explain
from dqn.config.files import CONFIG_DIR, load_config, save_config
from dqn.config.optimizers import optimizer_class
from dqn.config.resolvers import register_resolvers, variant_directory
from dqn.config.schema import EnvConfig, EvaluateConfig, NetworkConfig, TrainConfig
from dqn.config.validation import load_train_config, validate, validate_evaluation

# Every process that resolves a configuration imports this package, a launcher's worker too.
register_resolvers()

__all__ = [
    "CONFIG_DIR",
    "ConfigError",
    "EnvConfig",
    "EvaluateConfig",
    "NetworkConfig",
    "TrainConfig",
    "check_arguments",
    "compose_config",
    "explain",
    "load_config",
    "load_train_config",
    "optimizer_class",
    "save_config",
    "validate",
    "validate_evaluation",
    "variant_directory",
]
