"""What a training loop is made of, and what it hands to the run around it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from dqn.agent import DQN
from dqn.environments.base import VectorEnvironment
from dqn.evaluation.whole_games import Evaluation
from dqn.replay import Replay
from dqn.training.plan import TrainingPlan
from dqn.training.schedules import Schedule

if TYPE_CHECKING:  # The trainer is made of these.
    from dqn.training.trainer import Trainer


@dataclass(frozen=True)
class Parts:
    """What acts, learns and remembers.

    Attributes:
        environment: for training; reset when ``Trainer.run`` starts.
        agent: acts and learns.
        replay: receives every frame.
        behaviour_epsilon: schedule from agent steps to ε.
        learning_rate_factor: schedule from agent steps to what the optimizer's rates are
            multiplied by.
        plan: lengths and periods.
    """

    environment: VectorEnvironment
    agent: DQN
    replay: Replay
    behaviour_epsilon: Schedule
    learning_rate_factor: Schedule
    plan: TrainingPlan


@dataclass(frozen=True)
class Hooks:
    """What the loop asks of the run around it.

    Attributes:
        evaluate: plays the evaluation games; returns None when told to stop half-way.
        save: writes a checkpoint of the trainer; False where it could not be written.
        keep_best: keeps the weights of the best evaluation so far.
        should_stop: polled at every turn.
    """

    evaluate: Callable[[], Evaluation | None]
    save: Callable[["Trainer"], bool]
    keep_best: Callable[["Trainer"], None]
    should_stop: Callable[[], bool]


class BestEvaluation(NamedTuple):
    """The evaluation with the highest mean return so far, the earliest of equal ones.

    Attributes:
        return_mean: of its games.
        agent_steps: when it was made.
        weights: of the network that it judged, a copy on the CPU.
    """

    return_mean: float
    agent_steps: int
    weights: dict[str, torch.Tensor]
