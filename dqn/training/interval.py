"""What one line of training metrics is made of."""

import time
from typing import TypedDict

import torch

from dqn.run_format import (
    AGENT_STEPS_PER_SECOND,
    TRAIN_LOSS,
    TRAIN_Q_MEAN,
    UPDATES_PER_SECOND,
)


class IntervalState(TypedDict):
    """What a log line in the making has seen so far."""

    agent_steps: int
    num_updates: int
    loss_sum: torch.Tensor
    q_sum: torch.Tensor
    elapsed_seconds: float


class Interval:
    """Sums over the updates since the last log line, kept on the device until they are read."""

    def __init__(self, agent_steps: int, num_updates: int, device: torch.device) -> None:
        self._agent_steps = agent_steps
        self._num_updates = num_updates
        self._elapsed_seconds = 0.0
        self._started = time.perf_counter()
        self._loss_sum = torch.zeros((), device=device)
        self._q_sum = torch.zeros((), device=device)

    def add(self, loss: torch.Tensor, q_mean: torch.Tensor) -> None:
        """Count one update."""
        self._loss_sum += loss
        self._q_sum += q_mean

    def go_on(self) -> None:
        """Count time from now on: a run that was stopped did not train meanwhile."""
        self._started = time.perf_counter() - self._elapsed_seconds

    def is_finite(self) -> bool:
        """Whether every loss so far was finite; waits for the device."""
        return bool(self._loss_sum.isfinite())

    def state_dict(self) -> IntervalState:
        """The sums on the CPU, and how long they have taken so far."""
        return {
            "agent_steps": self._agent_steps,
            "num_updates": self._num_updates,
            "loss_sum": self._loss_sum.cpu().clone(),
            "q_sum": self._q_sum.cpu().clone(),
            "elapsed_seconds": time.perf_counter() - self._started,
        }

    def load_state_dict(self, state: IntervalState) -> None:
        """Go on from ``state``; ``go_on`` starts the clock."""
        self._agent_steps = state["agent_steps"]
        self._num_updates = state["num_updates"]
        self._loss_sum = state["loss_sum"].to(self._loss_sum.device)
        self._q_sum = state["q_sum"].to(self._q_sum.device)
        self._elapsed_seconds = state["elapsed_seconds"]

    def exclude_seconds(self, seconds: float) -> None:
        """Take time spent on something else, an evaluation, out of the speed."""
        self._started += seconds

    def metrics(self, agent_steps: int, num_updates: int) -> dict[str, float]:
        """Speed, and means over the updates where there were any."""
        seconds = max(time.perf_counter() - self._started, 1e-9)
        updates = num_updates - self._num_updates
        speed = {
            AGENT_STEPS_PER_SECOND: (agent_steps - self._agent_steps) / seconds,
            UPDATES_PER_SECOND: updates / seconds,
        }
        if updates == 0:
            return speed
        return speed | {
            TRAIN_LOSS: float(self._loss_sum) / updates,
            TRAIN_Q_MEAN: float(self._q_sum) / updates,
        }
