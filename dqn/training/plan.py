"""How long a training is, and what is due when."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How long to train and how often to do what; every period is in agent steps.

    Attributes:
        total_agent_steps: agent steps over all environments after which training is finished.
        warmup_agent_steps: agent steps before the first update.
        agent_steps_per_update: agent steps per update of the network (4 in Mnih et al. 2015).
        batch_size: transitions per update.
        log_period_agent_steps: between lines of training metrics.
        evaluation_period_agent_steps: between evaluations; the last is always made.
        checkpoint_period_agent_steps: between checkpoints; stop and end always save.
        stop_at_return_mean: training is also finished once an evaluation reaches this mean return.
    """

    total_agent_steps: int
    warmup_agent_steps: int
    agent_steps_per_update: int
    batch_size: int
    log_period_agent_steps: int
    evaluation_period_agent_steps: int
    checkpoint_period_agent_steps: int
    stop_at_return_mean: float | None

    def updates_due(self, agent_steps: int) -> int:
        """Updates that belong to the first ``agent_steps`` agent steps.

        >>> plan = TrainingPlan(total_agent_steps=100, warmup_agent_steps=10,
        ...     agent_steps_per_update=4, batch_size=32, log_period_agent_steps=10,
        ...     evaluation_period_agent_steps=50, checkpoint_period_agent_steps=50,
        ...     stop_at_return_mean=None)
        >>> [plan.updates_due(agent_steps) for agent_steps in (0, 10, 13, 14, 50)]
        [0, 0, 0, 1, 10]
        """
        return max(0, agent_steps - self.warmup_agent_steps) // self.agent_steps_per_update

    def agent_steps_of_update(self, num_updates: int) -> int:
        """Agent steps after which the ``num_updates``-th update is due."""
        return self.warmup_agent_steps + num_updates * self.agent_steps_per_update
