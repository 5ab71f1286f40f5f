"""From a configuration to what learns: agent, replay, schedules and plan of the training loop."""

import copy
import dataclasses
import itertools
import math
from functools import partial
from typing import cast

import numpy as np
import torch

from dqn.agent import DQN
from dqn.config import ConfigError, NetworkConfig, TrainConfig, optimizer_class
from dqn.environments import VectorEnvironment
from dqn.losses import Reduction, clipped_error_loss
from dqn.networks.q_network import QNetwork, build_q_network
from dqn.networks.torsos import MLP, Implementation, MinAtarCNN, NatureCNN, NipsCNN, TorsoFactory
from dqn.replay import UniformReplay
from dqn.run.games import max_abs_reward
from dqn.run.seeding import Seeds
from dqn.system import memory
from dqn.training.plan import TrainingPlan
from dqn.training.schedules import ConstantSchedule, LinearSchedule, Schedule


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
    config: TrainConfig, environment: VectorEnvironment, *, seeds: Seeds, device: torch.device
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
        reward_clip=max_abs_reward(config.env),
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
