"""What Hydra refuses, in one line for the person at the command line."""

import re
from typing import cast

from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dqn.config.composition import compose_config
from dqn.config.errors import ConfigError
from dqn.config.files import CONFIG_DIR
from dqn.names import nearest, suggest
from dqn.saved_config import flatten


def explain(error: Exception, arguments: list[str], *, config_name: str) -> str | None:
    """One line for a person whose command line or YAML is wrong; None for any other error.

    Args:
        error: what the Hydra application raised.
        arguments: the command line, without the program's name.
        config_name: the primary configuration.
    """
    if isinstance(error, ConfigError):
        return str(error)
    # Hydra raises this message as a bare ValueError for group=null.
    is_hydras = "Config group override must be" in str(error)
    if not isinstance(error, HydraException | OmegaConfBaseException) and not is_hydras:
        return None
    if isinstance(error, OverrideParseException):
        return f"{error.override}: must be key=value in Hydra's grammar ({_first_line(error)})"
    known_groups = sorted(path.name for path in CONFIG_DIR.iterdir() if path.is_dir())
    for argument in arguments:
        key, _, value = argument.partition("=")
        key = key.lstrip("+~").partition("@")[0]
        if key in known_groups:
            choices = sorted(path.stem for path in (CONFIG_DIR / key).glob("*.yaml"))
            for choice in value.split(","):
                if choice not in choices and choice.isidentifier():
                    return (
                        f"{key}={choice}: must be one of {', '.join(choices)}"
                        f"{nearest(choice, choices)}"
                    )
    match = re.search(r"Missing mandatory value: (\S+)", str(error))
    if match:
        return f"{match.group(1)}: no value given, {match.group(1)}= needs one"
    match = re.search(r"Could not override '([^']+)'", str(error))
    if match:
        key = match.group(1)
        return f"{key}: unknown key{_known_keys(key, arguments, config_name)}"
    return " ".join(str(error).split())


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _known_keys(key: str, arguments: list[str], config_name: str) -> str:
    """What may have been meant: a near key, or those that stand beside it."""
    groups = {path.name for path in CONFIG_DIR.iterdir() if path.is_dir()}
    chosen = [
        argument
        for argument in arguments
        if argument.partition("=")[0] in groups and "," not in argument
    ]
    config = compose_config(config_name, chosen)
    container = cast(dict[str, object], OmegaConf.to_container(config, resolve=False))
    known = flatten(container)
    hint = nearest(key, [*known, *container, *groups])
    parent, _, name = key.rpartition(".")
    siblings = [
        known_key
        for known_key in known
        if known_key.rpartition(".")[0] == parent and not known_key.endswith("_target_")
    ]
    if parent and siblings:
        names = ", ".join(sibling.rpartition(".")[2] for sibling in siblings)
        return f"{nearest(name, names.split(', ')) or ';'} {parent} has {names}"
    namesakes = [known_key for known_key in known if known_key.rpartition(".")[2] == name]
    return hint or (suggest(namesakes[0]) if namesakes else "")
