"""Where configurations live, and how a run's own is written and read."""

from pathlib import Path
from typing import cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dqn.config.errors import ConfigError
from dqn.config.schema import TrainConfig
from dqn.saved_config import flatten, upgrade_tree
from dqn.system.whole_file import replace_file

# An installed package holds the folder; in a checkout it lies beside the package.
_PACKAGED = Path(__file__).parents[1] / "configs"
CONFIG_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "configs"

# A run's own configuration has about 2 kB. A stranger's must not fill the memory.
_MAX_BYTES = 2**20


def save_config(config: TrainConfig, path: Path) -> None:
    """Write the whole of a configuration as YAML; a reader, and a crash, never see half of it."""
    replace_file(path, OmegaConf.to_yaml(OmegaConf.structured(config)).encode())


def load_config(path: Path) -> dict[str, object]:
    """Read back what ``save_config`` of this or an earlier version wrote, in today's keys.

    Keys and values are not checked; only interpolations are refused. A saved configuration is
    resolved, so one with ``${...}`` in it is not ours, and could make us read the environment of
    whoever opens it.

    Raises:
        ConfigError: it is no YAML mapping of plain values.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path.name} is longer than {_MAX_BYTES} bytes")
        container = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise ConfigError(f"{path.name} cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(container, dict):
        raise ConfigError(f"{path.name} is no mapping of keys to values")
    for key, value in flatten(cast(dict[str, object], container)).items():
        if "${" in str(value):
            raise ConfigError(f"{path.name}: {key}={value}: must be a value, not an interpolation")
    return upgrade_tree(cast(dict[str, object], container))
