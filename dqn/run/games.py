"""From a configuration to games: those to learn from, those of an evaluation, the one of a film."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dqn.agent import DQN, epsilon_greedy
from dqn.config import ConfigError, EnvConfig, TrainConfig
from dqn.environments import (
    AtariEnvironment,
    ControlEnvironment,
    MinAtarEnvironment,
    check_game,
    check_minatar_game,
    get_minatar_protocol,
)
from dqn.environments.protocols import AtariProtocol, get_protocol
from dqn.evaluation.video import Recording, record_episode
from dqn.evaluation.whole_games import Evaluation, evaluate
from dqn.run.seeding import Seeds

Environment = AtariEnvironment | ControlEnvironment | MinAtarEnvironment

# A control task has no protocol to say it: the greedy policy is evaluated.
CONTROL_EVALUATION_EPSILON = 0.0
# Five minutes of Atari, the length that Mnih et al. 2015 evaluate for.
VIDEO_MAX_AGENT_STEPS = 4_500
ATARI_VIDEO_FRAMES_PER_SECOND = 15.0  # 60 frames a second, every fourth shown to the agent.
CONTROL_VIDEO_FRAMES_PER_SECOND = 50.0  # CartPole's tau is 0.02 s.


def protocol_of(config: EnvConfig) -> AtariProtocol | None:
    """The Atari protocol, or None for a control task or MinAtar.

    Raises:
        ConfigError: there is no protocol of that name.
    """
    if config.kind != "atari":
        return None
    try:
        return get_protocol(str(config.protocol))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_environment(config: EnvConfig) -> None:
    """Refuse an unknown game or protocol before anything is built or written.

    Raises:
        ConfigError: naming the nearest known game.
    """
    protocol_of(config)
    try:
        if config.kind == "atari":
            check_game(config.game)
        if config.kind == "minatar":
            check_minatar_game(config.game)
            get_minatar_protocol(str(config.protocol))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def build_environment(
    config: EnvConfig,
    *,
    num_envs: int,
    seed: int,
    training: bool,
    render_mode: str | None = None,
) -> Environment:
    """Environments of one kind, game and protocol, for training or for evaluation."""
    protocol = protocol_of(config)
    if protocol is None:
        try:
            if config.kind == "minatar":
                return MinAtarEnvironment(
                    config.game,
                    protocol=get_minatar_protocol(str(config.protocol)),
                    num_envs=num_envs,
                    seed=seed,
                    render_mode=render_mode,
                )
            return ControlEnvironment(
                str(config.id), num_envs=num_envs, seed=seed, render_mode=render_mode
            )
        except (ImportError, ValueError) as error:
            raise ConfigError(str(error)) from error
    return AtariEnvironment(
        config.game,
        protocol=protocol,
        num_envs=num_envs,
        seed=seed,
        training=training,
        num_threads=config.num_threads,
        render_mode=render_mode,
    )


def training_environment(config: TrainConfig, *, seeds: Seeds) -> Environment:
    """The environments to train in, at their start."""
    return build_environment(
        config.env, num_envs=config.env.num_envs, seed=seeds.environment, training=True
    )


def evaluation_epsilon(config: TrainConfig) -> float:
    """The configured ε of evaluation, else the protocol's."""
    if config.evaluation.epsilon is not None:
        return config.evaluation.epsilon
    if config.env.kind == "minatar":
        return get_minatar_protocol(str(config.env.protocol)).evaluation_epsilon
    protocol = protocol_of(config.env)
    return CONTROL_EVALUATION_EPSILON if protocol is None else protocol.evaluation_epsilon


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
            agent.greedy_actions,
            num_games=num_games,
            behaviour_epsilon=evaluation_epsilon(config),
            exploration_seed=seeds.evaluation_exploration,
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
    generator = np.random.default_rng(seeds.evaluation_exploration)
    try:
        return record_episode(
            environment,
            lambda observation_t: epsilon_greedy(
                agent.greedy_actions,
                observation_t,
                evaluation_epsilon(config),
                agent.num_actions,
                generator,
            ),
            path,
            max_agent_steps=VIDEO_MAX_AGENT_STEPS,
            should_stop=should_stop,
            frames_per_second=(
                CONTROL_VIDEO_FRAMES_PER_SECOND
                if config.env.kind == "control"
                else ATARI_VIDEO_FRAMES_PER_SECOND
            ),
        )
    finally:
        environment.close()
