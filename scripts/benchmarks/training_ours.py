"""One measurement of ``benchmark.py training``: our own training loop, timed part by part.

``python training_ours.py AGENT_STEPS [OVERRIDE ...]`` prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dqn.config import compose_config, validate
from dqn.run import assembly
from dqn.run.seeding import derive_seeds
from dqn.system.memory import peak_resident_bytes
from dqn.system.process import prepare_process
from dqn.training.parts import Hooks
from dqn.training.progress import Progress
from dqn.training.telemetry import Telemetry
from dqn.training.trainer import Trainer
from rmsprop import effective_learning_rate_summaries

# Long enough for every page, cache and thread to be in use.
WARMUP_AGENT_STEPS = 2_000
SETTLING_AGENT_STEPS = 1_000
BENCHMARK_OVERRIDES = (
    f"agent.warmup_agent_steps={WARMUP_AGENT_STEPS}",
    "replay.capacity=100000",
    # As for most of a run: random actions cost nothing.
    "agent.epsilon.begin=0.1",
    "agent.epsilon.end=0.1",
    "evaluation.period_agent_steps=1000000000",
    "checkpoint.period_agent_steps=1000000000",
)


class Stopwatch:
    """Seconds by part; parts may be nested, and an inner one's seconds are not its outer one's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = time.perf_counter() - started
                self.seconds[part] += elapsed - self._inner.pop()
                self._inner[-1] += elapsed

        return call


def measure(agent_steps: int, overrides: list[str]) -> dict[str, Any]:
    config = validate(compose_config("train", ["run_dir=.", *BENCHMARK_OVERRIDES, *overrides]))
    device = assembly.resolve_device(config.device)
    prepare_process(num_threads=config.num_threads, precision=config.precision)
    seeds = derive_seeds(config.seed)
    parts = assembly.assemble(config, seeds=seeds, device=device)
    environment, agent, replay = parts.environment, parts.agent, parts.replay

    watch = Stopwatch()
    begin: dict[str, float] = {}
    end: dict[str, float] = {}

    def should_stop() -> bool:
        if not begin and trainer.agent_steps >= WARMUP_AGENT_STEPS + SETTLING_AGENT_STEPS:
            _synchronize(device)
            watch.seconds.clear()
            begin.update(_position(trainer))
        if begin and trainer.agent_steps >= begin["agent_steps"] + agent_steps:
            _synchronize(device)
            end.update(_position(trainer))
            return True
        return False

    with (
        tempfile.TemporaryDirectory() as folder,
        Telemetry(Path(folder), frame_skip=environment.frame_skip) as telemetry,
        Progress(total_agent_steps=agent_steps, agent_steps=0, label="benchmark") as progress,
    ):
        for part, owner, name in (
            ("act", agent, "act"),
            ("environments: begin the step", environment, "step_async"),
            ("environments: wait for them", environment, "step_wait"),
            ("replay: append", replay, "append"),
            ("replay: sample", replay, "sample"),
            ("learn: forward and backward", agent, "learn"),
            ("learn: optimizer", agent.optimizer, "step"),
            ("telemetry", telemetry, "write"),
        ):
            setattr(owner, name, watch.timed(part, getattr(owner, name)))
        hooks = Hooks(
            evaluate=lambda: None,
            save=lambda trainer: True,
            keep_best=lambda trainer: None,
            should_stop=should_stop,
        )
        trainer = assembly.build_trainer(
            config,
            parts,
            hooks,
            telemetry=telemetry,
            progress=progress,
            diagnose=watch.timed("telemetry", effective_learning_rate_summaries),
        )
        trainer.run()
    environment.close()
    seconds = end["time"] - begin["time"]
    parts = dict(watch.seconds)
    parts["rest"] = seconds - sum(parts.values())
    return {
        "agent_steps": end["agent_steps"] - begin["agent_steps"],
        "updates": end["updates"] - begin["updates"],
        "seconds": seconds,
        "parts_seconds": parts,
        "peak_memory_bytes": peak_resident_bytes(),
    }


def _position(trainer: Trainer) -> dict[str, float]:
    return {
        "agent_steps": trainer.agent_steps,
        "updates": trainer.agent.num_updates,
        "time": time.perf_counter(),
    }


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2:])))
