"""Which optimizers a configuration may name, and whether they take their arguments."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from dqn.config.errors import ConfigError
from dqn.config.ranges import DECAY, is_number
from dqn.names import nearest

# Instantiating runs code, and a configuration may come from a stranger: nothing else is looked up.
OPTIMIZER_TARGETS = (
    "rmsprop.RMSprop",
    "rmsprop.Adagrad",
    "torch.optim.RMSprop",
    "torch.optim.Adagrad",
    "torch.optim.Adam",
    "torch.optim.AdamW",
    "torch.optim.SGD",
)


def optimizer_class(target: str) -> Any:
    """The class an allowed ``optimizer._target_`` names."""
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


def check_optimizer(optimizer: Mapping[str, object]) -> None:
    """Refuse a class that is not listed, an argument that it does not take, and a wrong type.

    Raises:
        ConfigError: naming the key, the value and what is allowed.
    """
    target = optimizer.get("_target_")
    if target not in OPTIMIZER_TARGETS:
        raise ConfigError(
            f"optimizer._target_={target}: must be one of {', '.join(OPTIMIZER_TARGETS)}"
            f"{nearest(str(target), OPTIMIZER_TARGETS)}"
        )
    parameters = dict(inspect.signature(optimizer_class(str(target))).parameters)
    parameters.pop("params")
    for key, value in optimizer.items():
        if key == "_target_":
            continue
        if key not in parameters:
            raise ConfigError(
                f"optimizer.{key}={value}: {target} takes {', '.join(parameters)}"
                f"{nearest(key, parameters)}"
            )
        default = parameters[key].default
        if isinstance(default, bool) and not isinstance(value, bool):
            raise ConfigError(f"optimizer.{key}={value}: must be true or false")
        if is_number(default) and not is_number(value):
            raise ConfigError(f"optimizer.{key}={value}: must be a number")
        if key == "betas" and not _are_decays(value, len(default)):
            raise ConfigError(f"optimizer.betas={value}: must be {len(default)} numbers {DECAY}")
    if "lr" not in optimizer:
        raise ConfigError(f"optimizer.lr: no value given, {target} needs one")


def _are_decays(values: object, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(is_number(value) and value in DECAY for value in values)
    )
