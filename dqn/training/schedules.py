"""Values that change with time, as objects: exploration rates and learning rates.

A schedule is called with the number of agent steps taken so far and has no state, so a resumed
run needs nothing but its step count.
"""

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """Anything that maps a number of agent steps to a value."""

    def __call__(self, agent_step: int) -> float:
        """The value after ``agent_step`` agent steps."""


@dataclass(frozen=True)
class ConstantSchedule:
    """The same value at every step.

    Raises:
        ValueError: ``value`` is not finite.

    >>> ConstantSchedule(2.5e-4)(1_000_000)
    0.00025
    """

    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"value={self.value} must be a finite number")

    def __call__(self, agent_step: int) -> float:
        """The value, whatever ``agent_step`` is."""
        return self.value


@dataclass(frozen=True)
class LinearSchedule:
    """A straight line between two constants.

    ::

        fraction = clip((agent_step - begin_agent_step) / num_agent_steps, 0, 1)
        value    = begin_value + fraction * (end_value - begin_value)

    The exploration of Mnih et al. 2015 (Extended Data Table 1) falls from 1 to 0.1 within a
    million agent steps, which their code counts from the first update on
    (google-deepmind/dqn, ``dqn/NeuralQLearner.lua``, ``eGreedy``).

    Raises:
        ValueError: a value is not finite, or a number of steps is not one.

    >>> behaviour_epsilon = LinearSchedule(
    ...     begin_value=1.0, end_value=0.1, begin_agent_step=50_000, num_agent_steps=1_000_000)
    >>> [round(behaviour_epsilon(step), 3) for step in (0, 50_000, 550_000, 1_050_000, 2_000_000)]
    [1.0, 1.0, 0.55, 0.1, 0.1]
    """

    begin_value: float
    end_value: float
    begin_agent_step: int
    num_agent_steps: int

    def __post_init__(self) -> None:
        for name, value in (("begin_value", self.begin_value), ("end_value", self.end_value)):
            if not math.isfinite(value):
                raise ValueError(f"{name}={value} must be a finite number")
        if self.begin_agent_step < 0:
            raise ValueError(f"begin_agent_step={self.begin_agent_step} must not be negative")
        if self.num_agent_steps < 1:
            raise ValueError(
                f"num_agent_steps={self.num_agent_steps} must be at least 1: "
                "for a value that does not change use ConstantSchedule"
            )

    def __call__(self, agent_step: int) -> float:
        """The value after ``agent_step`` agent steps."""
        elapsed = min(max(agent_step - self.begin_agent_step, 0), self.num_agent_steps)
        fraction = elapsed / self.num_agent_steps
        # Weighted so that both ends are met exactly, not up to rounding.
        return (1.0 - fraction) * self.begin_value + fraction * self.end_value
