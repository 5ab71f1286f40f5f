"""What a checkpoint costs: seconds to write and to read, size on disk, memory beside the replay.

A replay is filled with frames of a random player, played once and repeated, then saved as a run
saves it: whole the first two times, afterwards what two periods have added. CPU seconds depend
little on who else uses the machine; seconds include waiting for it and for the disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.machine import describe_machine

from dqn import checkpoint
from dqn.environments import AtariEnvironment
from dqn.environments.protocols import PROTOCOLS
from dqn.replay import Replay, TransitionRing, UniformSampler
from dqn.system.memory import peak_resident_bytes
from dqn.training.trainer import newest_frame

NUM_ENVS = 8
# Frames that are really played; the rest repeats them.
PLAYED_COLUMNS = 1_000
NUM_SAVES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--game", default="breakout", help="default: breakout")
    parser.add_argument("--transitions", type=int, default=1_000_000, help="default: 1000000")
    parser.add_argument(
        "--period", type=int, default=50_000, help="agent steps between saves; default: 50000"
    )
    parser.add_argument(
        "--steps-per-second", type=float, default=200.0, help="of training; default: 200"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    frames = _play(arguments.game)  # [num_envs, columns, height, width]
    replay = _replay(arguments.transitions)
    columns = arguments.transitions // NUM_ENVS
    _fill(replay, frames, columns)
    agent = {"network": _weights(), "target_network": _weights(), "square_avg": _weights()}
    before = peak_resident_bytes()
    with tempfile.TemporaryDirectory() as directory:
        rows = []
        for number in range(NUM_SAVES):
            parts = {"agent": agent, "replay": replay.state_dict(with_frames=False)}
            rows.append(
                _measured(
                    f"save {number + 1}",
                    lambda parts=parts, number=number: checkpoint.save(
                        Path(directory), number, parts, replay
                    ),
                )
            )
            _append(replay, frames, arguments.period // NUM_ENVS)
        newest = checkpoint.available(Path(directory))[-1]
        size = sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())
        loaded: list[Any] = []
        rows.append(_measured("verify", lambda: loaded.append(checkpoint.load(newest))))
        replay.load_state_dict(loaded[0].state["replay"])
        rows.append(_measured("read frames", lambda: loaded[0].load_frames(replay)))
        memory = peak_resident_bytes() - before
    period_seconds = arguments.period / arguments.steps_per_second
    print(f"{arguments.game}, {arguments.transitions:,} transitions, {replay.nbytes / 1e9:.2f} GB")
    print(f"{'':<14}{'seconds':>10}{'CPU seconds':>14}{'of a period':>14}")
    for row in rows:
        share = row["cpu_seconds"] / period_seconds
        print(f"{row['what']:<14}{row['seconds']:>10.2f}{row['cpu_seconds']:>14.2f}{share:>13.2%}")
    print(f"on disk {size / 1e6:.0f} MB; memory beside the replay {memory / 1e6:.0f} MB")
    return {
        "machine": describe_machine(),
        "game": arguments.game,
        "transitions": arguments.transitions,
        "period_agent_steps": arguments.period,
        "agent_steps_per_second": arguments.steps_per_second,
        "rows": rows,
        "bytes_on_disk": size,
        "bytes_beside_the_replay": memory,
    }


def _measured(what: str, call: Callable[[], object]) -> dict[str, Any]:
    seconds, cpu_seconds = time.perf_counter(), time.process_time()
    call()
    return {
        "what": what,
        "seconds": time.perf_counter() - seconds,
        "cpu_seconds": time.process_time() - cpu_seconds,
    }


def _weights() -> dict[str, torch.Tensor]:
    """As many numbers as the network of Mnih et al. 2015 has."""
    return {"weights": torch.randn(1_686_180)}


def _play(game: str) -> torch.Tensor:
    environment = AtariEnvironment(
        game,
        protocol=PROTOCOLS["nature"],
        num_envs=NUM_ENVS,
        seed=0,
        training=True,
        num_threads=1,
    )
    generator = np.random.default_rng(0)
    time_step = environment.reset()
    frames = []
    for _ in range(PLAYED_COLUMNS):
        frames.append(newest_frame(time_step.observation_t, environment.stack_size).copy())
        time_step = environment.step(generator.integers(environment.num_actions, size=NUM_ENVS))
    environment.close()
    return torch.from_numpy(np.stack(frames, axis=1))


def _replay(transitions: int) -> Replay:
    ring = TransitionRing(
        num_envs=NUM_ENVS,
        capacity=transitions,
        frame_shape=(84, 84),
        frame_dtype=torch.uint8,
        stack_size=4,
    )
    return Replay(ring, UniformSampler(seed=0))


def _fill(replay: Replay, frames: torch.Tensor, columns: int) -> None:
    """Bring a replay to its full size in blocks, as a checkpoint would."""
    _append(replay, frames, 1)
    state = replay.state_dict(with_frames=False)
    for name in ("actions", "rewards", "is_terminal", "is_transition", "age"):
        state[name] = state[name].repeat(1, columns)
    state["num_appends"] = columns
    replay.load_state_dict(state)
    for begin in range(0, columns, PLAYED_COLUMNS):
        part = range(begin, min(begin + PLAYED_COLUMNS, columns))
        replay.write_frames(part, frames[:, : len(part)])


def _append(replay: Replay, frames: torch.Tensor, columns: int) -> None:
    for column in range(columns):
        replay.append(
            frame_tm1=frames[:, column % PLAYED_COLUMNS].numpy(),
            is_first_tm1=np.full(NUM_ENVS, column == 0),
            action_tm1=np.zeros(NUM_ENVS, dtype=np.int64),
            reward_t=np.zeros(NUM_ENVS, dtype=np.float32),
            is_terminal_t=np.zeros(NUM_ENVS, dtype=np.bool_),
            is_transition=np.ones(NUM_ENVS, dtype=np.bool_),
        )
