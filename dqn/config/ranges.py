"""Which values a key may have: numbers in a range, words out of a few."""

import math
from collections.abc import Mapping
from typing import NamedTuple


class Range(NamedTuple):
    """An interval of numbers, closed unless said otherwise."""

    low: float
    high: float = math.inf
    low_is_open: bool = False
    high_is_open: bool = False

    def __contains__(self, value: object) -> bool:
        assert isinstance(value, int | float)
        above = value > self.low if self.low_is_open else value >= self.low
        below = value < self.high if self.high_is_open else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.low_is_open else 'at least'} {self.low:g}"
        return (
            f"{'above' if self.low_is_open else 'from'} {self.low:g} "
            f"{'and below' if self.high_is_open else 'to'} {self.high:g}"
        )


POSITIVE = Range(0, low_is_open=True)
NON_NEGATIVE = Range(0)
AT_LEAST_ONE = Range(1)
FRACTION = Range(0, 1)
DECAY = Range(0, 1, high_is_open=True)

RANGES: Mapping[str, Range] = {
    "env.num_envs": Range(1, 4096),
    "env.num_threads": Range(0, 1024),
    "agent.discount": FRACTION,
    "agent.max_grad_norm": POSITIVE,
    "agent.n_step": Range(1, 100),
    "agent.batch_size": AT_LEAST_ONE,
    "agent.agent_steps_per_update": AT_LEAST_ONE,
    "agent.warmup_agent_steps": AT_LEAST_ONE,
    "agent.target_update_period_agent_steps": AT_LEAST_ONE,
    "agent.epsilon.begin": FRACTION,
    "agent.epsilon.end": FRACTION,
    "agent.epsilon.decay_agent_steps": NON_NEGATIVE,
    "agent.learning_rate.begin_factor": NON_NEGATIVE,
    "agent.learning_rate.end_factor": NON_NEGATIVE,
    "agent.learning_rate.decay_agent_steps": NON_NEGATIVE,
    "loss.error_bound": POSITIVE,
    "replay.capacity": AT_LEAST_ONE,
    "evaluation.period_agent_steps": AT_LEAST_ONE,
    "evaluation.num_games": AT_LEAST_ONE,
    "evaluation.max_num_envs": Range(1, 4096),
    "evaluation.epsilon": FRACTION,
    "logging.period_agent_steps": AT_LEAST_ONE,
    "checkpoint.period_agent_steps": AT_LEAST_ONE,
    "num_games": AT_LEAST_ONE,
    "max_num_envs": Range(1, 4096),
    "epsilon": FRACTION,
    "seed": Range(0, 2**31 - 1),
    "total_agent_steps": AT_LEAST_ONE,
    "num_threads": Range(0, 1024),
    "optimizer.lr": NON_NEGATIVE,
    "optimizer.alpha": DECAY,
    "optimizer.eps": NON_NEGATIVE,
    "optimizer.momentum": DECAY,
    "optimizer.weight_decay": NON_NEGATIVE,
    "optimizer.lr_decay": NON_NEGATIVE,
    "optimizer.initial_square_avg": NON_NEGATIVE,
    "optimizer.initial_accumulator_value": NON_NEGATIVE,
}

# Of keys that no component has; those of components are read off their classes.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "agent.loss_reduction": ("sum", "mean"),
    "human_scores": ("no_op_57", "nature_49"),
    "device": ("auto", "cpu", "cuda"),
    "precision": ("fp32", "tf32", "bf16"),
}


def is_number(value: object) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
