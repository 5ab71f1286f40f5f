"""From a configuration to games: those to learn from, those of an evaluation, the one of a film."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dqn.agent import DQN
from dqn.config import ConfigError, EnvConfig, TrainConfig
from dqn.config.components import environment_spec
from dqn.environments import KINDS, VectorEnvironment
from dqn.environments.kinds import GameProtocol
from dqn.evaluation.video import Recording, record_episode
from dqn.evaluation.whole_games import Evaluation, evaluate
from dqn.exploration import EpsilonGreedy
from dqn.run.seeding import Seeds

# Mnih et al. 2015 evaluate for five minutes of Atari, which are so many agent steps.
VIDEO_MAX_AGENT_STEPS = 4_500


@contextmanager
def _configuration_errors() -> Iterator[None]:
    """Turn what a kind refuses into a ConfigError."""
    try:
        yield
    except (ImportError, ValueError) as error:
        raise ConfigError(str(error)) from error


def protocol_of(config: EnvConfig) -> GameProtocol | None:
    """The protocol the games are played under; None for a kind that has none.

    Raises:
        ConfigError: there is no protocol of that name.
    """
    spec = environment_spec(config)
    with _configuration_errors():
        return KINDS[spec.kind].protocol(spec)


def max_abs_reward(config: EnvConfig) -> float | None:
    """The agent learns from rewards clipped to ± this; None: from the raw ones.

    Raises:
        ConfigError: there is no protocol of that name.
    """
    spec = environment_spec(config)
    with _configuration_errors():
        return KINDS[spec.kind].max_abs_reward(spec)


def evaluation_epsilon(config: TrainConfig) -> float:
    """The configured ε of evaluation, else the protocol's.

    Raises:
        ConfigError: there is no protocol of that name.
    """
    if config.evaluation.epsilon is not None:
        return config.evaluation.epsilon
    spec = environment_spec(config.env)
    with _configuration_errors():
        return KINDS[spec.kind].evaluation_epsilon(spec)


def build_environment(
    config: EnvConfig,
    *,
    num_envs: int,
    seed: int,
    training: bool,
    render_mode: str | None = None,
) -> VectorEnvironment:
    """Environments of one kind, game and protocol, for training or for evaluation.

    Raises:
        ConfigError: they cannot be built, or need a package that is not installed.
    """
    spec = environment_spec(config)
    with _configuration_errors():
        return KINDS[spec.kind].build(
            spec, num_envs=num_envs, seed=seed, training=training, render_mode=render_mode
        )


def training_environment(config: TrainConfig, *, seeds: Seeds) -> VectorEnvironment:
    """The environments to train in, at their start."""
    return build_environment(
        config.env, num_envs=config.env.num_envs, seed=seeds.environment, training=True
    )


def evaluate_agent(
    config: TrainConfig, agent: DQN, *, seeds: Seeds, should_stop: Callable[[], bool]
) -> Evaluation | None:
    """Play the configured evaluation games, always from the same starts for the same seed."""
    num_games = config.evaluation.num_games
    # The largest number of environments that shares the games out evenly.
    max_num_envs = min(config.evaluation.max_num_envs, num_games)
    num_envs = max(n for n in range(1, max_num_envs + 1) if num_games % n == 0)
    environment = build_environment(
        config.env, num_envs=num_envs, seed=seeds.evaluation_environment, training=False
    )
    try:
        return evaluate(
            environment,
            _evaluated_policy(config, agent, seeds),
            num_games=num_games,
            should_stop=should_stop,
        )
    finally:
        environment.close()


def record_video(
    config: TrainConfig,
    agent: DQN,
    path: Path,
    *,
    seeds: Seeds,
    should_stop: Callable[[], bool] = lambda: False,
) -> Recording | None:
    """Film the first evaluation game as this agent plays it; None when told to stop half-way.

    Raises:
        ImportError: drawing the task needs a package that is not installed.
        OSError: the file cannot be written.
    """
    environment = build_environment(
        config.env,
        num_envs=1,
        seed=seeds.evaluation_environment,
        training=False,
        render_mode="rgb_array",
    )
    try:
        return record_episode(
            environment,
            _evaluated_policy(config, agent, seeds),
            path,
            max_agent_steps=VIDEO_MAX_AGENT_STEPS,
            should_stop=should_stop,
            frames_per_second=KINDS[config.env.kind].frames_per_second,
        )
    finally:
        environment.close()


def _evaluated_policy(config: TrainConfig, agent: DQN, seeds: Seeds) -> EpsilonGreedy:
    """The agent's policy as evaluations and films play it, from its start."""
    return EpsilonGreedy(
        agent.greedy_policy(),
        agent.num_actions,
        epsilon=evaluation_epsilon(config),
        generator=np.random.default_rng(seeds.evaluation_exploration),
    )
