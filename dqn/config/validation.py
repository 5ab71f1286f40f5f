"""Whether a configuration can run: keys, types, ranges, choices, and what they say together."""

import re
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dqn.config.errors import ConfigError
from dqn.config.files import load_config
from dqn.config.optimizers import check_optimizer
from dqn.config.ranges import CHOICES, RANGES, is_number
from dqn.config.schema import EvaluateConfig, TrainConfig
from dqn.names import nearest
from dqn.saved_config import flatten

Schema = TypeVar("Schema")

# What the schema's types are to a person.
TYPES: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    int | None: "a whole number or null",
    float | None: "a number or null",
    str: "text",
    str | None: "text or null",
    list[int]: "a list of whole numbers",
    list[float]: "a list of numbers",
}


def validate(config: DictConfig) -> TrainConfig:
    """The typed configuration, or the first thing wrong with it.

    Raises:
        ConfigError: unknown key, wrong type, number out of range, unknown choice, component or
            environment, or an optimizer that is not allowed or does not take one of its arguments.
    """
    # Imported here: `--help` and completion need no PyTorch, which takes seconds.
    from dqn.config.components import COMPONENTS, check_environment, component_options, env_schema
    from dqn.config.relations import check_relations, check_torso, fill_epsilon
    from dqn.environments.kinds import KINDS

    raw = _resolved(config)
    env = _mapping_at(raw, "env")
    _check_choice("env.kind", env.get("kind"), tuple(KINDS))
    typed_env = _typed(env, env_schema(str(env["kind"])), "env")
    check_environment(typed_env)
    for key, registry in COMPONENTS.items():
        component = _mapping_at(raw, key)
        _check_choice(f"{key}.kind", component.get("kind"), tuple(registry))
        if key == "network.torso":  # Before its options, which are those of the one that fits.
            check_torso(component["kind"], typed_env)
        options = component_options(registry[str(component["kind"])])
        _set(raw, key, asdict(_typed(component, options.schema, key)))
        for name, choices in options.choices.items():
            _check_choice(f"{key}.{name}", _mapping_at(raw, key)[name], choices)
    agent = raw.get("agent")
    if isinstance(agent, dict) and isinstance(agent.get("epsilon"), dict):
        fill_epsilon(agent["epsilon"], typed_env)
    typed = _typed(raw | {"env": typed_env}, TrainConfig)
    _check_values(raw)
    check_optimizer(typed.optimizer)
    check_relations(typed)
    return typed


def load_train_config(path: Path) -> TrainConfig:
    """A run's own configuration, checked like one from the command line.

    Raises:
        ConfigError: it cannot be read, or cannot run.
    """
    return validate(OmegaConf.create(load_config(path)))


def validate_evaluation(config: DictConfig) -> EvaluateConfig:
    """The typed configuration of ``dqn-evaluate``, or the first thing wrong with it.

    Raises:
        ConfigError: unknown key, wrong type, number out of range, unknown choice.
    """
    raw = _resolved(config)
    typed = _typed(raw, EvaluateConfig)
    _check_values(raw)
    return typed


def _resolved(config: DictConfig) -> dict[str, object]:
    """Plain values, none of them missing; whole floats are integers."""
    try:
        # Before anything is resolved that may refer to one of them.
        _refuse_missing(config)
        raw = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(_one_line(error, TrainConfig, {}, "")) from error
    return cast(dict[str, object], _with_integers(raw))


def _typed(raw: Mapping[str, object], schema: type[Schema], key: str = "") -> Schema:
    """Values as an instance of their schema; ``key`` is where in the configuration they stand."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), dict(raw))
        _refuse_missing(merged, key)
        return cast(Schema, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise ConfigError(_one_line(error, schema, flatten(raw), key)) from error


def _check_values(raw: Mapping[str, object]) -> None:
    """Ranges and choices, in the order of their tables."""
    flat = flatten(raw)
    if flat["run_dir"] == "":
        raise ConfigError("run_dir=: must be a directory; run_dir=. is this one")
    for key, allowed_range in RANGES.items():
        value = flat.get(key)
        if value is not None and (not is_number(value) or value not in allowed_range):
            raise ConfigError(f"{key}={value}: must be a number {allowed_range}")
    for key, choices in CHOICES.items():
        if key in flat:
            _check_choice(key, flat[key], choices)


def _check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        hint = nearest(str(value), choices)
        raise ConfigError(f"{key}={value}: must be one of {', '.join(choices)}{hint}")


def _refuse_missing(config: Any, parent: str = "") -> None:
    # Not OmegaConf.missing_keys: it resolves what refers to a missing key, and fails of that.
    values = cast(dict[str, object], OmegaConf.to_container(config, resolve=False))
    missing = [_join(parent, key) for key, value in flatten(values).items() if value == "???"]
    if missing:
        raise ConfigError(f"{min(missing)}: no value given, {min(missing)}= needs one")


def _mapping_at(raw: Mapping[str, object], key: str) -> dict[str, object]:
    """The component at a dotted key."""
    node: object = raw
    for name in key.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    if not isinstance(node, dict):
        raise ConfigError(f"{key}={node}: must be a kind and its options, as {key}.kind=")
    return node


def _set(raw: dict[str, object], key: str, value: dict[str, object]) -> None:
    parent, _, name = key.rpartition(".")
    (_mapping_at(raw, parent) if parent else raw)[name] = value


def _with_integers(value: object) -> Any:
    """``1e6`` is a float to YAML; a whole one is what an integer field means by it."""
    if isinstance(value, dict):
        return {key: _with_integers(item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _one_line(
    error: OmegaConfBaseException, schema: type, flat: Mapping[str, object], parent: str
) -> str:
    path = re.sub(r"\[\d+\]$", "", str(error.full_key or ""))  # of a list, whose element is wrong
    above, _, name = path.rpartition(".")
    key = _join(parent, path)
    siblings = _field_types(schema, above)
    if name and name not in siblings:
        known = ""
        if "kind" in flat:
            siblings.pop("kind")
            options = ", ".join(siblings) or "no options"
            known = f", {parent}.kind={flat['kind']} has {options}"
        return f"{key}: unknown key{known}{nearest(name, siblings)}"
    if siblings.get(name) in TYPES and path in flat:
        return f"{key}={flat[path]}: must be {TYPES[siblings[name]]}"
    message = str(error.msg or error).splitlines()[0]
    return f"{key}: {message[:1].lower()}{message[1:]}" if key else message


def _join(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent and name else parent or name


def _field_types(schema: type, parent: str) -> dict[str, object]:
    """The keys below ``parent`` and their types; empty where the schema does not reach."""
    node: Any = schema
    for name in parent.split(".") if parent else []:
        node = next((field.type for field in fields(node) if field.name == name), None)
        if not is_dataclass(node):
            return {}
    return {field.name: field.type for field in fields(node)}
