"""Memory and sampling time of the replays, on frames that a policy has really seen.

The frames come from a game played by a trained run's policy (``--policy``), or at random. Both
replays hold the same transitions and must draw the same batches, which is checked.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.machine import describe_machine

from dqn.agent import DQN
from dqn.config import ConfigError, load_train_config
from dqn.environments import AtariEnvironment
from dqn.environments.protocols import PROTOCOLS, AtariProtocol
from dqn.exploration import EpsilonGreedy, GreedyPolicy
from dqn.replay import Replay, TransitionRing, UniformSampler
from dqn.run import games
from dqn.run.reevaluation import load_agent
from dqn.run_format import CONFIG_FILE
from dqn.training.trainer import newest_frame
from dqn.types import IntArray, ObservationArray

NUM_ENVS = 8
BATCH_SIZE = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--game", default="pong", help="without --policy; default: pong")
    parser.add_argument("--policy", type=Path, metavar="RUN", help="play as this run's policy does")
    parser.add_argument("--transitions", type=int, default=50_000, help="default: 50000")
    parser.add_argument("--rounds", type=int, default=200, help="timed batches; default: 200")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    game, protocol = arguments.game, PROTOCOLS["nature"]
    player: DQN | None = None
    if arguments.policy is not None:
        try:
            config = load_train_config(arguments.policy / CONFIG_FILE)
            agent, agent_steps = load_agent(arguments.policy, config)
        except ConfigError as error:
            sys.exit(str(error))
        chosen = games.protocol_of(config.env)
        if not isinstance(chosen, AtariProtocol):
            sys.exit(f"--policy {arguments.policy}: must be a run of an Atari game")
        game, protocol, player = config.env.game, chosen, agent
        print(f"policy of {arguments.policy} at step {agent_steps:,}")
    replays = {
        name: Replay(
            TransitionRing(
                num_envs=NUM_ENVS,
                capacity=arguments.transitions,
                frame_shape=protocol.screen_size,
                frame_dtype=torch.uint8,
                stack_size=protocol.stack_size,
                compressed=name == "compressed",
            ),
            UniformSampler(seed=0),
        )
        for name in ("uniform", "compressed")
    }
    _fill(list(replays.values()), game, protocol, player, arguments.transitions)
    milliseconds = _sampling_times(replays, arguments.rounds)
    rows = [
        {
            "replay": name,
            "game": game,
            "bytes_per_transition": replay.nbytes / arguments.transitions,
            "gigabytes_per_million": replay.nbytes / arguments.transitions / 1e3,
            "sampling_milliseconds": statistics.median(milliseconds[name]),
        }
        for name, replay in replays.items()
    ]
    print(f"{game}, {arguments.transitions:,} transitions; batches of {BATCH_SIZE}, one thread")
    for row in rows:
        print(
            f"{row['replay']:12}{row['bytes_per_transition']:9.0f} bytes a transition "
            f"{row['gigabytes_per_million']:6.2f} GB a million "
            f"{row['sampling_milliseconds']:7.3f} ms a batch"
        )
    return {"environment": describe_machine(), "rows": rows}


def _fill(
    replays: list[Replay],
    game: str,
    protocol: AtariProtocol,
    agent: DQN | None,
    num_transitions: int,
) -> None:
    environment = AtariEnvironment(
        game, protocol=protocol, num_envs=NUM_ENVS, seed=0, training=True
    )
    generator = np.random.default_rng(0)

    def random_actions(observation_t: ObservationArray) -> IntArray:
        return generator.integers(environment.num_actions, size=NUM_ENVS)

    policy = EpsilonGreedy(
        GreedyPolicy(random_actions) if agent is None else agent.greedy_policy(),
        environment.num_actions,
        epsilon=protocol.evaluation_epsilon,
        generator=generator,
    )
    time_step = environment.reset()
    for _ in range(num_transitions // NUM_ENVS):
        actions = policy(time_step)
        next_time_step = environment.step(actions)
        for replay in replays:
            replay.append(
                frame_tm1=newest_frame(time_step.observation_t, protocol.stack_size),
                is_first_tm1=time_step.is_first_t,
                action_tm1=actions,
                reward_t=next_time_step.reward_t,
                is_terminal_t=next_time_step.is_terminal_t,
                is_transition=~time_step.is_last_t,
            )
        time_step = next_time_step
    environment.close()


def _sampling_times(replays: dict[str, Replay], rounds: int) -> dict[str, list[float]]:
    milliseconds: dict[str, list[float]] = {name: [] for name in replays}
    for _ in range(rounds):
        batches = []
        for name, replay in replays.items():
            started = time.perf_counter()
            batches.append(replay.sample(BATCH_SIZE))
            milliseconds[name].append(1e3 * (time.perf_counter() - started))
        assert all(map(torch.equal, *batches)), "the replays drew different batches"
    return milliseconds
