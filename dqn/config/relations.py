"""What the values of a configuration must be to each other, and which follow from others."""

from dqn.config.components import environment_spec
from dqn.config.errors import ConfigError
from dqn.config.schema import EnvConfig, TrainConfig
from dqn.environments.kinds import KINDS


def check_relations(config: TrainConfig) -> None:
    """Refuse what no single value can break.

    Raises:
        ConfigError: naming both keys.
    """
    _check_periods(config)
    _check_warmup(config)
    torso = config.network.torso
    if config.compile and torso.get("implementation") == "native":
        raise ConfigError(
            "network.torso.implementation=native: must be auto or torch with compile=true, "
            "which compiles PyTorch's layers"
        )


def check_torso(kind: object, env: EnvConfig) -> None:
    """Refuse a torso for other observations than this environment's.

    Raises:
        ConfigError: naming the torsos that fit.
    """
    fitting = KINDS[env.kind].torsos
    if kind not in fitting:
        raise ConfigError(
            f"network.torso.kind={kind}: must be {' or '.join(fitting)} for the "
            f"observations of env.game={env.game}"
        )


def fill_epsilon(epsilon: dict[str, object], env: EnvConfig) -> None:
    """Put the protocol's numbers where the training policy's ε is null.

    Raises:
        ConfigError: there is a null, and no protocol that says the number.

    >>> from dqn.config.components import env_schema
    >>> env = env_schema("atari")(kind="atari", game="pong", protocol="machado", num_envs=8,
    ...     num_threads=0)
    >>> epsilon = {"begin": 1.0, "end": None, "decay_agent_steps": None}
    >>> fill_epsilon(epsilon, env)
    >>> epsilon
    {'begin': 1.0, 'end': 0.01, 'decay_agent_steps': 250000}
    """
    spec = environment_spec(env)
    protocols = KINDS[spec.kind].behaviour_epsilon(spec)
    for name, value in epsilon.items():
        if value is not None:
            continue
        if protocols is None:
            raise ConfigError(
                f"agent.epsilon.{name}=null: must be a number, since env.game={env.game} has no "
                "protocol that says it"
            )
        epsilon[name] = getattr(protocols, name, None)


def _check_periods(config: TrainConfig) -> None:
    agent = config.agent
    if agent.target_update_period_agent_steps % agent.agent_steps_per_update:
        raise ConfigError(
            f"agent.target_update_period_agent_steps={agent.target_update_period_agent_steps}: "
            "must be a multiple of agent.agent_steps_per_update="
            f"{agent.agent_steps_per_update}"
        )


def _check_warmup(config: TrainConfig) -> None:
    agent = config.agent
    # The agent step that follows n_step others in an environment completes its first transition.
    for key, at_least in (
        ("agent.batch_size", agent.batch_size),
        ("env.num_envs * agent.n_step", config.env.num_envs * agent.n_step),
    ):
        if agent.warmup_agent_steps < at_least:
            raise ConfigError(
                f"agent.warmup_agent_steps={agent.warmup_agent_steps}: must be at least "
                f"{key}={at_least}"
            )
    if agent.warmup_agent_steps > config.replay.capacity:
        raise ConfigError(
            f"agent.warmup_agent_steps={agent.warmup_agent_steps}: must be at most "
            f"replay.capacity={config.replay.capacity}"
        )
