"""Which options a component of a run has: those that its constructor takes by keyword only.

A registry names the classes of a component. The options of a class, their types and their choices
are read off its signature, so that a class, its line in the registry and its YAML file are all of
a new one.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dqn.config.errors import ConfigError
from dqn.config.schema import EnvConfig
from dqn.environments.kinds import KINDS, EnvironmentSpec
from dqn.losses.registry import LOSSES
from dqn.networks.registry import READOUTS, STREAMS, TORSOS
from dqn.replay.samplers import SAMPLERS

# Where in a configuration a component stands, and the classes it may be one of.
COMPONENTS: Mapping[str, Mapping[str, Callable[..., object]]] = {
    "network.torso": TORSOS,
    "network.stream": STREAMS,
    "network.readout": READOUTS,
    "loss": LOSSES,
    "replay.sampler": SAMPLERS,
}


@dataclass(frozen=True)
class Options:
    """What may be said of one component.

    Attributes:
        schema: a dataclass of ``kind`` and the options, with the defaults of the constructor.
        choices: values of those options that are one of a few words.
    """

    schema: type
    choices: Mapping[str, tuple[str, ...]]


def component_options(part: Callable[..., object]) -> Options:
    """The options of a class.

    >>> options = component_options(TORSOS["nature_cnn"])
    >>> [option.name for option in fields(options.schema)], dict(options.choices)
    (['kind', 'implementation'], {'implementation': ('auto', 'native', 'torch')})
    """
    hints = get_type_hints(part.__init__ if inspect.isclass(part) else part)
    options: list[tuple[str, Any, Any]] = [("kind", str, field())]
    choices: dict[str, tuple[str, ...]] = {}
    for name, parameter in inspect.signature(part).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if get_origin(hints[name]) is Literal:
            choices[name] = get_args(hints[name])
        options.append((name, _schema_type(hints[name]), _default(parameter.default)))
    return Options(make_dataclass("Component", options, kw_only=True), choices)


@cache  # Equal configurations are of the same class.
def env_schema(kind: str) -> type[EnvConfig]:
    """The configuration of a kind of environment: of a spec's values only those it has.

    >>> [option.name for option in fields(env_schema("control"))]
    ['kind', 'game', 'num_envs', 'id']
    """
    hints = get_type_hints(EnvironmentSpec)
    options = [(name, hints[name], field()) for name in KINDS[kind].options]
    return make_dataclass("KindOfEnvConfig", options, bases=(EnvConfig,), kw_only=True)


def environment_spec(config: EnvConfig) -> EnvironmentSpec:
    """The environment that a configuration means."""
    names = {option.name for option in fields(EnvironmentSpec)}
    values = {option.name: getattr(config, option.name) for option in fields(config)}
    return EnvironmentSpec(**{name: values[name] for name in names & values.keys()})


def check_environment(config: EnvConfig) -> None:
    """Refuse an unknown game, task or protocol before anything is built or written.

    Raises:
        ConfigError: naming the nearest known name.
    """
    spec = environment_spec(config)
    try:
        KINDS[spec.kind].check(spec)
    except (ImportError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _schema_type(hint: Any) -> Any:
    """The type by which OmegaConf checks values of ``hint``."""
    if get_origin(hint) is Literal:
        return str
    if get_origin(hint) is Sequence:
        return list[get_args(hint)[0]]  # type: ignore[misc]
    return hint


def _default(default: object) -> Any:
    if default is inspect.Parameter.empty:
        return field()
    if isinstance(default, tuple):
        return field(default_factory=lambda: list(default))
    return field(default=default)
