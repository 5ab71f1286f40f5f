"""One measurement of ``benchmark.py training``: Stable-Baselines3's DQN, the extra ``bench``.

``python training_sb3.py AGENT_STEPS GAME`` prints one line of JSON. Same game, network, batch size
and ratio of updates; everything else as its users run it: ``AtariWrapper``, stacks of four, one
environment (rl-zoo's setting for DQN), Adam, PyTorch's own number of threads. To compare with
another peer, copy this file: print agent steps, updates and seconds of a stretch after its warm-up.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import ale_py
import gymnasium
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import VecFrameStack

WARMUP_AGENT_STEPS = 1_000
SETTLING_AGENT_STEPS = 400


class Clock(BaseCallback):
    """Notes steps, updates and time after the warm-up and ``agent_steps`` later."""

    def __init__(self, agent_steps: int) -> None:
        super().__init__()
        self.agent_steps = agent_steps
        self.begin: dict[str, float] = {}
        self.end: dict[str, float] = {}

    def _on_step(self) -> bool:
        position = {
            "agent_steps": self.num_timesteps,
            "updates": self.model._n_updates,
            "time": time.perf_counter(),
        }
        if not self.begin and self.num_timesteps >= WARMUP_AGENT_STEPS + SETTLING_AGENT_STEPS:
            self.begin = position
        if self.begin and self.num_timesteps >= self.begin["agent_steps"] + self.agent_steps:
            self.end = position
            return False
        return True


def measure(agent_steps: int, game: str) -> dict[str, Any]:
    gymnasium.register_envs(ale_py)
    name = "".join(word.capitalize() for word in game.split("_"))
    environment = VecFrameStack(make_atari_env(f"{name}NoFrameskip-v4", n_envs=1, seed=1), 4)
    model = DQN(
        "CnnPolicy",
        environment,
        learning_rate=1e-4,
        buffer_size=20_000,
        learning_starts=WARMUP_AGENT_STEPS,
        batch_size=32,
        train_freq=4,
        gradient_steps=1,
        target_update_interval=10_000,
        exploration_initial_eps=0.1,
        exploration_final_eps=0.1,
        optimize_memory_usage=True,
        replay_buffer_kwargs={"handle_timeout_termination": False},
        seed=1,
    )
    clock = Clock(agent_steps)
    model.learn(10**9, callback=clock)
    return {
        "agent_steps": clock.end["agent_steps"] - clock.begin["agent_steps"],
        "updates": clock.end["updates"] - clock.begin["updates"],
        "seconds": clock.end["time"] - clock.begin["time"],
        "parts_seconds": {},
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2])))
