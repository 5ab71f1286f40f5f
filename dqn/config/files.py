"""Where configurations live, and how a run's own is written and read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dqn.config.errors import ConfigError
from dqn.config.schema import TrainConfig

# Inside an installed package, else beside it in the checkout.
_PACKAGED = Path(__file__).parents[1] / "configs"
CONFIG_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "configs"

OmegaConf.register_new_resolver("abspath", os.path.abspath, replace=True)


def flatten(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mappings as dotted keys.

    >>> flatten({"agent": {"epsilon": {"end": 0.1}}, "seed": 1})
    {'agent.epsilon.end': 0.1, 'seed': 1}
    """
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def save_config(config: TrainConfig, path: Path) -> None:
    """Write the whole of a configuration as YAML; a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    OmegaConf.save(OmegaConf.structured(config), temporary)
    os.replace(temporary, path)


def load_config(path: Path) -> dict[str, object]:
    """Read back what ``save_config`` wrote, unchecked.

    Raises:
        ConfigError: it is no YAML mapping.
    """
    try:
        container = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path.name} cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(container, dict):
        raise ConfigError(f"{path.name} is no mapping of keys to values")
    return cast(dict[str, object], container)
