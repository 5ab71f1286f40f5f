"""From a configuration to what learns: agent, replay, schedules and plan of the training loop."""

import copy
import dataclasses
import itertools
import math
from typing import cast

import numpy as np
import torch

from dqn.agent import DQN, Reduction
from dqn.config import ConfigError, NetworkConfig, TrainConfig, optimizer_class
from dqn.environments import VectorEnvironment
from dqn.losses.registry import build_loss
from dqn.networks.q_network import QNetwork
from dqn.networks.registry import build_q_network
from dqn.replay import Replay, TransitionRing, build_sampler
from dqn.run import games
from dqn.run.seeding import Seeds
from dqn.system import memory
from dqn.training.layers import Diagnose
from dqn.training.parts import Hooks, Parts
from dqn.training.plan import TrainingPlan
from dqn.training.progress import Progress
from dqn.training.schedules import ConstantSchedule, LinearSchedule, Schedule
from dqn.training.telemetry import Telemetry
from dqn.training.trainer import Trainer
from rmsprop import effective_learning_rate_summaries


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


def check_memory(config: TrainConfig, environment: VectorEnvironment, device: torch.device) -> None:
    """Refuse what cannot fit before anything of it is allocated; the replay refuses itself.

    Counted is the least that is needed, so that what could fit is never refused.

    Raises:
        ConfigError: naming the key, its value and both numbers of bytes.
    """
    num_inputs = math.prod(environment.observation_shape)
    hidden_sizes = config.network.torso.get("hidden_sizes", [])
    sizes = [num_inputs, *hidden_sizes, environment.num_actions]
    num_parameters = sum(a * b for a, b in itertools.pairwise(sizes))
    try:
        if config.network.torso["kind"] == "mlp":
            memory.require(
                # Parameters, target parameters, gradients, one average of the optimizer.
                4 * 4 * num_parameters,
                device,
                key="network.torso.hidden_sizes",
                value=hidden_sizes,
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
    try:
        return build_q_network(
            torso=config.torso,
            stream=config.stream,
            readout=config.readout,
            observation_shape=observation_shape,
            num_actions=num_actions,
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
    config: TrainConfig, environment: VectorEnvironment, *, seeds: Seeds, device: torch.device
) -> DQN:
    """The agent for an environment, with networks drawn from ``seeds.network``."""
    torch.manual_seed(seeds.network)
    network_config = config.network
    if config.compile and "implementation" in network_config.torso:
        # torch.compile does not look into the native torso.
        torso = network_config.torso | {"implementation": "torch"}
        network_config = dataclasses.replace(network_config, torso=torso)
    network = build_network(
        network_config,
        observation_shape=environment.observation_shape,
        num_actions=environment.num_actions,
    ).to(device)
    if len(environment.observation_shape) == 3:
        # Convolutions in this layout are 1.3-1.8 times faster on CPUs and on tensor cores.
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    agent = config.agent
    return DQN(
        network=network,
        target_network=copy.deepcopy(network),
        optimizer=build_optimizer(config.optimizer, network),
        num_actions=environment.num_actions,
        loss=build_loss(config.loss),
        reduction=cast(Reduction, agent.loss_reduction),
        max_grad_norm=agent.max_grad_norm,
        double_q_learning=agent.double_q_learning,
        discount=agent.discount,
        reward_clip=games.max_abs_reward(config.env),
        target_update_period_updates=(
            agent.target_update_period_agent_steps // agent.agent_steps_per_update
        ),
        exploration_seed=seeds.exploration,
        device=device,
        autocast_dtype=torch.bfloat16 if config.precision == "bf16" else None,
        compiled=config.compile,
    )


def build_replay(
    config: TrainConfig, environment: VectorEnvironment, *, seed: int, device: torch.device
) -> Replay:
    """The replay for an environment's frames.

    Raises:
        ConfigError: it does not fit into memory, or is too small.
    """
    is_image = environment.observation_dtype == np.uint8
    try:
        ring = TransitionRing(
            num_envs=environment.num_envs,
            capacity=config.replay.capacity,
            frame_shape=environment.frame_shape,
            frame_dtype=torch.uint8 if is_image else torch.float32,
            stack_size=environment.stack_size,
            n_step=config.agent.n_step,
            compressed=config.replay.compressed,
            device=device,
        )
        return Replay(ring, build_sampler(config.replay.sampler, seed=seed))
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


def assemble(config: TrainConfig, *, seeds: Seeds, device: torch.device) -> Parts:
    """Everything that acts, learns and remembers; its environments are the caller's to close.

    Raises:
        ConfigError: a part refuses its configuration, or would not fit into memory.
    """
    environment = games.training_environment(config, seeds=seeds)
    try:
        check_memory(config, environment, device)
        return Parts(
            environment=environment,
            agent=build_agent(config, environment, seeds=seeds, device=device),
            replay=build_replay(config, environment, seed=seeds.replay, device=device),
            behaviour_epsilon=build_behaviour_epsilon(config),
            learning_rate_factor=build_learning_rate_factor(config),
            plan=build_plan(config),
        )
    except BaseException:
        environment.close()
        raise


def build_trainer(
    config: TrainConfig,
    parts: Parts,
    hooks: Hooks,
    *,
    telemetry: Telemetry,
    progress: Progress,
    diagnose: Diagnose = effective_learning_rate_summaries,
) -> Trainer:
    """The training loop over these parts."""
    return Trainer(
        parts,
        hooks,
        telemetry=telemetry,
        progress=progress,
        diagnose=diagnose,
        log_histograms=config.logging.histograms,
        concurrent=config.concurrent,
    )
