"""What a command line and a stranger's YAML files may name: no code but what is listed.

Hydra builds classes that ``hydra.*`` names (callbacks, launchers, sweepers) and hands
``hydra.job_logging`` to ``logging.config``, which builds classes too. So before Hydra reads what is
not ours, it is searched for names of code.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from dqn.config.errors import ConfigError
from dqn.config.optimizers import OPTIMIZER_TARGETS

TARGET_KEY = "_target_"
# train.yaml itself names this class, which takes no arguments and only watches.
_OWN_CALLBACK = "dqn.sweep.watch.SweepCallback"
# Hydra's own plugins, and the handlers and formatters of Python's logging, are allowed whole.
_PLUGIN_PREFIXES = ("hydra._internal.core_plugins.", "hydra_plugins.")
_LOGGING_PREFIX = "logging."
_LOGGING_KEYS = ("class", "()")
_DIRECTORY_OPTIONS = ("--config-dir", "-cd", "--config-path", "-cp")


def check_arguments(arguments: Iterable[str]) -> None:
    """Refuse a command line that names code, itself or in the YAML files it brings.

    Args:
        arguments: without the program's name.

    Raises:
        ConfigError: naming the key, the value and what is allowed.
    """
    directories: list[str] = []
    is_directory_next = False
    for argument in arguments:
        option, _, value = argument.partition("=")
        if is_directory_next:
            directories.append(argument)
        elif option in _DIRECTORY_OPTIONS and value:
            directories.append(value)
        elif not argument.startswith("-"):
            _check_override(argument)
        is_directory_next = not is_directory_next and argument in _DIRECTORY_OPTIONS
    for directory in directories:
        for path in sorted(Path(directory).rglob("*.y*ml")):
            check_yaml(path)


def check_yaml(path: Path) -> None:
    """Refuse a YAML file that names code.

    Raises:
        ConfigError: naming the file, the key, the value and what is allowed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    for key, value in _names_of_code(content, ""):
        _check_name(key, value, where=f"{path}: ")


def _check_override(argument: str) -> None:
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return  # Hydra refuses it too, and says why.
    values: list[object] = [override.value()]
    if override.is_sweep_override():
        values = list(override.sweep_string_iterator())
    parent, _, name = override.key_or_group.rpartition(".")
    for value in values:
        for key, found in _names_of_code({name: value}, parent):
            _check_name(key, found, where="")


def _names_of_code(content: object, parent: str) -> Iterator[tuple[str, object]]:
    """Every key that names code, with its value."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            key = f"{parent}.{name}" if parent else str(name)
            last = key.rpartition(".")[2]
            if last == TARGET_KEY or (last in _LOGGING_KEYS and not isinstance(value, Mapping)):
                yield key, value
            yield from _names_of_code(value, key)
    elif isinstance(content, list):
        for value in content:
            yield from _names_of_code(value, parent)
    elif isinstance(content, str) and content.startswith(("ext://", "cfg://")):
        yield parent, content


def _check_name(key: str, value: object, *, where: str) -> None:
    text = str(value)
    if key.rpartition(".")[2] in _LOGGING_KEYS or text.startswith(("ext://", "cfg://")):
        if text.startswith(_LOGGING_PREFIX) or text in ("ext://sys.stdout", "ext://sys.stderr"):
            return
        raise ConfigError(f"{where}{key}={text}: must be of Python's logging")
    if text in (*OPTIMIZER_TARGETS, _OWN_CALLBACK) or text.startswith(_PLUGIN_PREFIXES):
        return
    # The optimizer's own key is answered by the configuration's check, with the nearest name.
    if not where and key == f"optimizer.{TARGET_KEY}":
        return
    raise ConfigError(f"{where}{key}={text}: must be one of {', '.join(OPTIMIZER_TARGETS)}")
