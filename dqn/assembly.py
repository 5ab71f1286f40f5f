"""From a configuration to objects: the only place that turns names into classes."""

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch

from dqn import memory
from dqn.agent import DQN, epsilon_greedy
from dqn.config import ConfigError, EnvConfig, NetworkConfig, TrainConfig, optimizer_class
from dqn.environments import (
    AtariEnvironment,
    ControlEnvironment,
    MinAtarEnvironment,
    check_game,
    check_minatar_game,
    get_minatar_protocol,
)
from dqn.evaluation import Evaluation, evaluate
from dqn.losses import Reduction, clipped_error_loss
from dqn.networks import (
    MLP,
    Implementation,
    MinAtarCNN,
    NatureCNN,
    NipsCNN,
    QNetwork,
    TorsoFactory,
    build_q_network,
)
from dqn.plan import TrainingPlan
from dqn.protocols import AtariProtocol, get_protocol
from dqn.replay import UniformReplay
from dqn.schedules import ConstantSchedule, LinearSchedule, Schedule
from dqn.seeding import Seeds
from dqn.video import Recording, record_episode

Environment = AtariEnvironment | ControlEnvironment | MinAtarEnvironment

# A control task has no protocol to say it: the greedy policy is evaluated.
CONTROL_EVALUATION_EPSILON = 0.0
# Five minutes of Atari, the length that Mnih et al. 2015 evaluate for.
VIDEO_MAX_AGENT_STEPS = 4_500
ATARI_VIDEO_FRAMES_PER_SECOND = 15.0  # 60 frames a second, every fourth shown to the agent.
CONTROL_VIDEO_FRAMES_PER_SECOND = 50.0  # CartPole's tau is 0.02 s.


def resolve_device(device: str) -> torch.device:
    """``auto`` is a CUDA device where there is one.

    Raises:
        ConfigError: CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda: PyTorch finds no CUDA device here; use device=cpu or auto")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


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


def check_memory(config: TrainConfig, environment: Environment, device: torch.device) -> None:
    """Refuse what cannot fit before anything of it is allocated; the replay refuses itself.

    Counted is the least that is needed, so that what could fit is never refused.

    Raises:
        ConfigError: naming the key, its value and both numbers of bytes.
    """
    num_inputs = math.prod(environment.observation_shape)
    sizes = [num_inputs, *config.network.hidden_sizes, environment.num_actions]
    num_parameters = sum(a * b for a, b in itertools.pairwise(sizes))
    try:
        if config.network.torso == "mlp":
            memory.require(
                # Parameters, target parameters, gradients, one average of the optimizer.
                4 * 4 * num_parameters,
                device,
                key="network.hidden_sizes",
                value=config.network.hidden_sizes,
                what="networks and optimizer",
            )
        memory.require(
            # Both states as the network takes them, float32.
            config.agent.batch_size * 2 * 4 * num_inputs,
            device,
            key="agent.batch_size",
            value=config.agent.batch_size,
            what="the states of a batch",
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def build_network(
    config: NetworkConfig, *, observation_shape: tuple[int, ...], num_actions: int
) -> QNetwork:
    """A fresh network, drawn from PyTorch's global generator.

    Raises:
        ConfigError: the torso does not fit the observations.
    """
    implementation = cast(Implementation, config.implementation)
    torsos: dict[str, TorsoFactory] = {
        "nature_cnn": partial(NatureCNN, implementation=implementation),
        "nips_cnn": partial(NipsCNN, implementation=implementation),
        "minatar_cnn": partial(MinAtarCNN, implementation=implementation),
        "mlp": partial(MLP, hidden_sizes=config.hidden_sizes, input_scale=config.input_scale),
    }
    try:
        return build_q_network(
            torso=torsos[config.torso], observation_shape=observation_shape, num_actions=num_actions
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def build_optimizer(config: dict[str, object], network: QNetwork) -> torch.optim.Optimizer:
    """The optimizer that the configuration names, over the network's named parameters.

    Raises:
        ConfigError: the class refuses one of its arguments.
    """
    target = str(config["_target_"])
    arguments = {key: value for key, value in config.items() if key != "_target_"}
    try:
        optimizer: torch.optim.Optimizer = optimizer_class(target)(
            network.named_parameters(), **arguments
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer ({target}): {error}") from error
    return optimizer


def build_agent(
    config: TrainConfig, environment: Environment, *, seeds: Seeds, device: torch.device
) -> DQN:
    """The agent for an environment, with networks drawn from ``seeds.network``."""
    torch.manual_seed(seeds.network)
    # torch.compile does not look into the native torso.
    implementation = "torch" if config.compile else config.network.implementation
    network = build_network(
        dataclasses.replace(config.network, implementation=implementation),
        observation_shape=environment.observation_shape,
        num_actions=environment.num_actions,
    ).to(device)
    if len(environment.observation_shape) == 3:
        # Convolutions in this layout are 1.3-1.8 times faster on CPUs and on tensor cores.
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    protocol = protocol_of(config.env)
    agent = config.agent
    return DQN(
        network=network,
        target_network=copy.deepcopy(network),
        optimizer=build_optimizer(config.optimizer, network),
        num_actions=environment.num_actions,
        loss=partial(
            clipped_error_loss,
            error_bound=agent.error_bound,
            reduction=cast(Reduction, agent.loss_reduction),
        ),
        double_q_learning=agent.double_q_learning,
        discount=agent.discount,
        reward_clip=None if protocol is None else protocol.max_abs_reward,
        target_update_period_updates=(
            agent.target_update_period_agent_steps // agent.agent_steps_per_update
        ),
        exploration_seed=seeds.exploration,
        device=device,
        autocast_dtype=torch.bfloat16 if config.precision == "bf16" else None,
        compiled=config.compile,
    )


def build_replay(
    config: TrainConfig, environment: Environment, *, seed: int, device: torch.device
) -> UniformReplay:
    """The replay for an environment's frames.

    Raises:
        ConfigError: it does not fit into memory, or is too small.
    """
    is_image = environment.observation_dtype == np.uint8
    try:
        return UniformReplay(
            num_envs=environment.num_envs,
            capacity=config.replay.capacity,
            frame_shape=environment.frame_shape,
            frame_dtype=torch.uint8 if is_image else torch.float32,
            stack_size=environment.stack_size,
            seed=seed,
            n_step=config.agent.n_step,
            compressed=config.replay.compressed,
            device=device,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def build_behaviour_epsilon(config: TrainConfig) -> Schedule:
    """ε from agent steps: ``begin`` through the warm-up, then a line to ``end``."""
    epsilon = config.agent.epsilon
    return _line(config, epsilon.begin, epsilon.end, epsilon.decay_agent_steps)


def build_learning_rate_factor(config: TrainConfig) -> Schedule:
    """What rates are multiplied by: ``begin_factor``, from the warm-up on a line to the end's."""
    factor = config.agent.learning_rate
    return _line(config, factor.begin_factor, factor.end_factor, factor.decay_agent_steps)


def _line(
    config: TrainConfig, begin_value: float, end_value: float, decay_agent_steps: int
) -> Schedule:
    """A line that begins with the warm-up's end; without a length, its end from the start."""
    if decay_agent_steps == 0:
        return ConstantSchedule(end_value)
    return LinearSchedule(
        begin_value=begin_value,
        end_value=end_value,
        begin_agent_step=config.agent.warmup_agent_steps,
        num_agent_steps=decay_agent_steps,
    )


def build_plan(config: TrainConfig) -> TrainingPlan:
    """Lengths and periods of the training loop."""
    return TrainingPlan(
        total_agent_steps=config.total_agent_steps,
        warmup_agent_steps=config.agent.warmup_agent_steps,
        agent_steps_per_update=config.agent.agent_steps_per_update,
        batch_size=config.agent.batch_size,
        log_period_agent_steps=config.logging.period_agent_steps,
        evaluation_period_agent_steps=config.evaluation.period_agent_steps,
        checkpoint_period_agent_steps=config.checkpoint.period_agent_steps,
        stop_at_return_mean=config.evaluation.stop_at_return_mean,
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


def training_environment(config: TrainConfig, *, seeds: Seeds) -> Environment:
    """The environments to train in, at their start."""
    return build_environment(
        config.env, num_envs=config.env.num_envs, seed=seeds.environment, training=True
    )


def checkpoint_directory(run_dir: Path) -> Path:
    """Where a run keeps its checkpoints."""
    return run_dir / "checkpoints"


def best_weights_path(run_dir: Path) -> Path:
    """Where a run keeps the weights of its best evaluation."""
    return checkpoint_directory(run_dir) / "best.safetensors"
