"""Whether a configuration can run: types, ranges, choices, and what they say together."""

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dqn.config.errors import ConfigError
from dqn.config.files import flatten, load_config
from dqn.config.schema import EnvConfig, EvaluateConfig, TrainConfig
from dqn.names import nearest


class Range(NamedTuple):
    """An interval of numbers, closed unless said otherwise."""

    low: float
    high: float = math.inf
    low_is_open: bool = False
    high_is_open: bool = False

    def __contains__(self, value: object) -> bool:
        assert isinstance(value, int | float)
        above = value > self.low if self.low_is_open else value >= self.low
        below = value < self.high if self.high_is_open else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.low_is_open else 'at least'} {self.low:g}"
        return (
            f"{'above' if self.low_is_open else 'from'} {self.low:g} "
            f"{'and below' if self.high_is_open else 'to'} {self.high:g}"
        )


POSITIVE = Range(0, low_is_open=True)
NON_NEGATIVE = Range(0)
AT_LEAST_ONE = Range(1)
FRACTION = Range(0, 1)
DECAY = Range(0, 1, high_is_open=True)

RANGES: Mapping[str, Range] = {
    "env.num_envs": Range(1, 4096),
    "env.num_threads": Range(0, 1024),
    "agent.discount": FRACTION,
    "agent.error_bound": POSITIVE,
    "agent.n_step": Range(1, 100),
    "agent.batch_size": AT_LEAST_ONE,
    "agent.agent_steps_per_update": AT_LEAST_ONE,
    "agent.warmup_agent_steps": AT_LEAST_ONE,
    "agent.target_update_period_agent_steps": AT_LEAST_ONE,
    "agent.epsilon.begin": FRACTION,
    "agent.epsilon.end": FRACTION,
    "agent.epsilon.decay_agent_steps": NON_NEGATIVE,
    "agent.learning_rate.begin_factor": NON_NEGATIVE,
    "agent.learning_rate.end_factor": NON_NEGATIVE,
    "agent.learning_rate.decay_agent_steps": NON_NEGATIVE,
    "replay.capacity": AT_LEAST_ONE,
    "evaluation.period_agent_steps": AT_LEAST_ONE,
    "evaluation.num_games": AT_LEAST_ONE,
    "evaluation.max_num_envs": Range(1, 4096),
    "evaluation.epsilon": FRACTION,
    "logging.period_agent_steps": AT_LEAST_ONE,
    "checkpoint.period_agent_steps": AT_LEAST_ONE,
    "num_games": AT_LEAST_ONE,
    "max_num_envs": Range(1, 4096),
    "epsilon": FRACTION,
    "seed": Range(0, 2**31 - 1),
    "total_agent_steps": AT_LEAST_ONE,
    "num_threads": Range(0, 1024),
    "optimizer.lr": NON_NEGATIVE,
    "optimizer.alpha": DECAY,
    "optimizer.eps": NON_NEGATIVE,
    "optimizer.momentum": DECAY,
    "optimizer.weight_decay": NON_NEGATIVE,
    "optimizer.lr_decay": NON_NEGATIVE,
    "optimizer.initial_square_avg": NON_NEGATIVE,
    "optimizer.initial_accumulator_value": NON_NEGATIVE,
}

CHOICES: Mapping[str, tuple[str, ...]] = {
    "env.kind": ("atari", "minatar", "control"),
    "agent.loss_reduction": ("sum", "mean"),
    "network.torso": ("nature_cnn", "nips_cnn", "minatar_cnn", "mlp"),
    "network.implementation": ("auto", "native", "torch"),
    "human_scores": ("no_op_57", "nature_49"),
    "device": ("auto", "cpu", "cuda"),
    "precision": ("fp32", "tf32", "bf16"),
}

# Which torsos can see the observations of an env.kind.
FITTING_TORSOS: Mapping[str, tuple[str, ...]] = {
    "atari": ("nature_cnn", "nips_cnn"),
    "minatar": ("minatar_cnn",),
    "control": ("mlp",),
}

# What the schema's types are to a person.
TYPES: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    float | None: "a number or null",
    str: "text",
    str | None: "text or null",
    list[int]: "a list of whole numbers",
    list[float]: "a list of numbers",
}

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


def validate(config: DictConfig) -> TrainConfig:
    """The typed configuration, or the first thing wrong with it.

    Raises:
        ConfigError: unknown key, wrong type, number out of range, unknown choice, optimizer that
            is not allowed or does not take one of its arguments.
    """
    typed = _checked(config, TrainConfig)
    _validate_optimizer(typed.optimizer)
    _validate_relations(typed)
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
    return _checked(config, EvaluateConfig)


Schema = TypeVar("Schema", TrainConfig, EvaluateConfig)


def _checked(config: DictConfig, schema: type[Schema]) -> Schema:
    """Types, ranges and choices, key by key."""
    raw: dict[str, object] = {}
    try:
        # Before anything is resolved that may refer to one of them.
        _refuse_missing(config)
        raw = cast(dict[str, object], OmegaConf.to_container(config, resolve=True))
        merged = OmegaConf.merge(OmegaConf.structured(schema), _with_integers(raw))
        _refuse_missing(merged)
        typed = cast(Schema, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise ConfigError(_one_line(error, schema, flatten(raw))) from error
    flat = flatten(raw)
    if typed.run_dir == "":
        raise ConfigError("run_dir=: must be a directory; run_dir=. is this one")
    for key, allowed_range in RANGES.items():
        value = flat.get(key)
        if value is not None and (not _is_number(value) or value not in allowed_range):
            raise ConfigError(f"{key}={value}: must be a number {allowed_range}")
    for key, choices in CHOICES.items():
        if key in flat and flat[key] not in choices:
            hint = nearest(str(flat[key]), choices)
            raise ConfigError(f"{key}={flat[key]}: must be one of {', '.join(choices)}{hint}")
    return typed


def _refuse_missing(config: Any) -> None:
    # Not OmegaConf.missing_keys: it resolves what refers to a missing key, and fails of that.
    values = cast(dict[str, object], OmegaConf.to_container(config, resolve=False))
    missing = [key for key, value in flatten(values).items() if value == "???"]
    if missing:
        raise ConfigError(f"{min(missing)}: no value given, {min(missing)}= needs one")


def optimizer_class(target: str) -> Any:
    """The class an allowed ``optimizer._target_`` names."""
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


def _validate_optimizer(optimizer: Mapping[str, object]) -> None:
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
        if _is_number(default) and not _is_number(value):
            raise ConfigError(f"optimizer.{key}={value}: must be a number")
        if key == "betas" and not _are_decays(value, len(default)):
            raise ConfigError(f"optimizer.betas={value}: must be {len(default)} numbers {DECAY}")
    if "lr" not in optimizer:
        raise ConfigError(f"optimizer.lr: no value given, {target} needs one")


def _validate_relations(config: TrainConfig) -> None:
    """What no single value can break."""
    agent = config.agent
    if agent.target_update_period_agent_steps % agent.agent_steps_per_update:
        raise ConfigError(
            f"agent.target_update_period_agent_steps={agent.target_update_period_agent_steps}: "
            "must be a multiple of agent.agent_steps_per_update="
            f"{agent.agent_steps_per_update}"
        )
    # The decision that follows n_step others in an environment completes its first transition.
    for key, at_least in (
        ("agent.batch_size", agent.batch_size),
        ("env.num_envs * agent.n_step", config.env.num_envs * agent.n_step),
    ):
        if agent.warmup_agent_steps < at_least:
            raise ConfigError(
                f"agent.warmup_agent_steps={agent.warmup_agent_steps}: must be at least "
                f"{key}={at_least}"
            )
    if config.compile and config.network.implementation == "native":
        raise ConfigError(
            "network.implementation=native: must be auto or torch with compile=true, "
            "which compiles PyTorch's layers"
        )
    if agent.warmup_agent_steps > config.replay.capacity:
        raise ConfigError(
            f"agent.warmup_agent_steps={agent.warmup_agent_steps}: must be at most "
            f"replay.capacity={config.replay.capacity}"
        )
    if config.env.kind == "atari" and config.env.protocol is None:
        raise ConfigError("env.protocol=null: an Atari game needs one, such as nature or machado")
    if config.env.kind == "minatar" and config.env.protocol is None:
        raise ConfigError("env.protocol=null: MinAtar needs one, minatar_v0 or minatar_v1")
    if config.env.kind == "control":
        _validate_control_task(config.env)
    fitting = FITTING_TORSOS[config.env.kind]
    if config.network.torso not in fitting:
        raise ConfigError(
            f"network.torso={config.network.torso}: must be {' or '.join(fitting)} for the "
            f"observations of env.game={config.env.game}"
        )


def _validate_control_task(env: EnvConfig) -> None:
    """``env.game`` only names the run of a control task: it must not name another."""
    if env.id is None:
        raise ConfigError("env.id=null: must be a Gymnasium id such as CartPole-v1")
    task = re.sub(r"^.*/|-v\d+$", "", env.id)
    if env.game.replace("_", "").lower() != task.replace("_", "").lower():
        raise ConfigError(
            f"env.game={env.game}: must be the name of env.id={env.id}, as mountain_car is of "
            "MountainCar-v0; games of Atari need env=atari"
        )


def _with_integers(value: object) -> Any:
    """``1e6`` is a float to YAML; a whole one is what an integer field means by it."""
    if isinstance(value, dict):
        return {key: _with_integers(item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _are_decays(values: object, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(_is_number(value) and value in DECAY for value in values)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _one_line(error: OmegaConfBaseException, schema: type, flat: Mapping[str, object]) -> str:
    key = re.sub(r"\[\d+\]$", "", str(error.full_key or ""))  # of a list, whose element is wrong
    parent, _, name = key.rpartition(".")
    siblings = _field_types(schema, parent)
    if name and name not in siblings:
        return f"{key}: unknown key{nearest(name, siblings)}"
    if siblings.get(name) in TYPES and key in flat:
        return f"{key}={flat[key]}: must be {TYPES[siblings[name]]}"
    message = str(error.msg or error).splitlines()[0]
    return f"{key}: {message[:1].lower()}{message[1:]}" if key else message


def _field_types(schema: type, parent: str) -> dict[str, object]:
    """The keys below ``parent`` and their types; empty where the schema does not reach."""
    node: Any = schema
    for name in parent.split(".") if parent else []:
        node = next((field.type for field in fields(node) if field.name == name), None)
        if not is_dataclass(node):
            return {}
    return {field.name: field.type for field in fields(node)}
