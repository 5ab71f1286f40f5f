"""The training loop: collect, learn, log, evaluate, checkpoint; one vector of steps a turn."""

import time
from collections import deque
from typing import Any, TypedDict

import numpy as np
import torch

from dqn.agent import AgentState, NonFiniteError
from dqn.evaluation.whole_games import Evaluation
from dqn.run_format import (
    EPISODE_LENGTH,
    EPISODE_RETURN,
    PEAK_MEMORY_GIGABYTES,
    TRAIN_EPSILON,
    TRAIN_LEARNING_RATE,
)
from dqn.system.memory import peak_resident_bytes
from dqn.training.interval import Interval, IntervalState
from dqn.training.layers import Diagnose, LayerLog
from dqn.training.nonfinite import nonfinite_parameter
from dqn.training.parts import BestEvaluation, Hooks, Parts
from dqn.training.progress import Progress
from dqn.training.telemetry import Telemetry
from dqn.types import Batch, IntArray, ObservationArray, TimeStep

# How many of the last games the progress line averages.
PROGRESS_GAMES = 20
# A checkpoint that could not be written is tried again after this share of the period.
RETRY_SHARE = 0.1


class GamesError(RuntimeError):
    """The games in progress of a checkpoint cannot be gone on with."""


class TrainerState(TypedDict):
    """Everything that decides how the training goes on."""

    agent: AgentState
    replay: dict[str, Any]
    environment: Any
    agent_steps: int
    evaluated_agent_steps: int
    is_solved: bool
    best: tuple[float, int, dict[str, torch.Tensor]] | None
    recent_returns: list[float]
    interval: IntervalState


class Trainer:
    """Runs one agent against one vector of environments, to the end or to a request to stop.

    One turn, in execution order: act in all environments at once with the behaviour ε of the
    moment; step them; append one frame per environment to the replay; make the updates that are
    due; log, evaluate and save where a period has passed. Saving comes last, so that a checkpoint
    knows of everything that was logged at its step: a run killed and resumed repeats no line.

    When ``concurrent``, the updates are made while the environments step: those that were due
    before this turn, from a replay that does not yet hold this turn's transitions. Which network
    acts is the same in both modes, and neither depends on how fast anything is.

    Args:
        parts: what acts, learns and remembers.
        hooks: what is asked of the run around.
        telemetry: where metrics go.
        progress: the line a person watches.
        diagnose: effective learning rates of the optimizer by layer, or None where unknown.
        log_histograms: also write the histogram of each layer's effective learning rates.
        concurrent: learn while the environments step, one vector of agent steps behind.
    """

    def __init__(
        self,
        parts: Parts,
        hooks: Hooks,
        *,
        telemetry: Telemetry,
        progress: Progress,
        diagnose: Diagnose | None,
        log_histograms: bool,
        concurrent: bool,
    ) -> None:
        self.agent = parts.agent
        self.replay = parts.replay
        self.agent_steps = 0
        self.evaluated_agent_steps = -1
        self.is_solved = False
        self.best: BestEvaluation | None = None
        self._environment = parts.environment
        self._behaviour_epsilon = parts.behaviour_epsilon
        self._learning_rate_factor = parts.learning_rate_factor
        # Read before a resumed optimizer brings the rates that the schedule had come to.
        self._initial_learning_rates = [g["lr"] for g in self.agent.optimizer.param_groups]
        self._plan = parts.plan
        self._hooks = hooks
        self._telemetry = telemetry
        self._progress = progress
        self._layer_log = LayerLog(
            self.agent.network,
            self.agent.optimizer,
            diagnose=diagnose,
            telemetry=telemetry,
            histograms=log_histograms,
        )
        self._concurrent = concurrent
        self._saved_agent_steps = 0
        self._save_again_at_agent_steps = 0
        self._time_step: TimeStep | None = None
        self._recent_returns: deque[float] = deque(maxlen=PROGRESS_GAMES)
        self._interval = Interval(self.agent_steps, self.agent.num_updates, self.agent.device)

    @property
    def is_finished(self) -> bool:
        """Whether the last policy is evaluated, and is either the last or good enough."""
        is_over = self.is_solved or self.agent_steps >= self._plan.total_agent_steps
        return is_over and self.evaluated_agent_steps == self.agent_steps

    def run(self) -> bool:
        """Train until finished (True) or asked to stop (False); a checkpoint is left either way."""
        if self._time_step is None:
            self._time_step = self._environment.reset()
        self._interval.go_on()
        while not self._hooks.should_stop():
            if self._evaluation_is_due():
                self._run_evaluation()
            elif self.is_finished:
                self._hooks.save(self)
                return True
            elif self._checkpoint_is_due():
                self._run_save()
            else:
                previous_agent_steps = self.agent_steps
                self._time_step = self._turn(self._time_step)
                if self._passed(self._plan.log_period_agent_steps, previous_agent_steps):
                    self._log_interval()
        self._hooks.save(self)
        return False

    def state_dict(self) -> TrainerState:
        """What a later ``load_state_dict`` goes on from, to the same bits; between turns only."""
        return {
            "agent": self.agent.state_dict(),
            "replay": self.replay.state_dict(with_frames=False),
            "environment": self._environment.state_dict(),
            "agent_steps": self.agent_steps,
            "evaluated_agent_steps": self.evaluated_agent_steps,
            "is_solved": self.is_solved,
            "best": None if self.best is None else (*self.best,),
            "recent_returns": list(self._recent_returns),
            "interval": self._interval.state_dict(),
        }

    def load_state_dict(self, state: TrainerState) -> None:
        """Go on from ``state``.

        Raises:
            GamesError: the environments cannot be brought to where they stood. Everything else is
                loaded; ``run`` opens new games, which the replay sees.
            ValueError: the replay is of another layout.
        """
        self.agent.load_state_dict(state["agent"])
        self.replay.load_state_dict(state["replay"])
        self.agent_steps = self._saved_agent_steps = state["agent_steps"]
        self.evaluated_agent_steps = state["evaluated_agent_steps"]
        self.is_solved = state["is_solved"]
        self.best = None if state["best"] is None else BestEvaluation(*state["best"])
        self._recent_returns.extend(state["recent_returns"])
        self._interval.load_state_dict(state["interval"])
        try:
            self._time_step = self._environment.load_state_dict(state["environment"])
        except ValueError as error:
            raise GamesError(str(error)) from error

    def _checkpoint_is_due(self) -> bool:
        has_passed = self._passed(self._plan.checkpoint_period_agent_steps, self._saved_agent_steps)
        return has_passed and self.agent_steps >= self._save_again_at_agent_steps

    def _run_save(self) -> None:
        if self._hooks.save(self):
            self._saved_agent_steps = self.agent_steps
        else:
            period = self._plan.checkpoint_period_agent_steps
            self._save_again_at_agent_steps = self.agent_steps + max(1, int(RETRY_SHARE * period))

    def _turn(self, time_step: TimeStep) -> TimeStep:
        actions = self.agent.act(time_step, self._behaviour_epsilon(self.agent_steps))
        self._environment.step_async(actions)
        if self._concurrent:
            self._learn()
        next_time_step = self._environment.step_wait()
        self._remember(time_step, actions, next_time_step)
        if not self._concurrent:
            self._learn()
        return next_time_step

    def _remember(self, time_step: TimeStep, actions: IntArray, next_time_step: TimeStep) -> None:
        # After a game's last observation the environment ignores the action and restarts.
        is_transition = ~time_step.is_last_t
        self.replay.append(
            frame_tm1=newest_frame(time_step.observation_t, self._environment.stack_size),
            is_first_tm1=time_step.is_first_t,
            action_tm1=actions,
            reward_t=next_time_step.reward_t,
            is_terminal_t=next_time_step.is_terminal_t,
            is_transition=is_transition,
        )
        self.agent_steps += int(is_transition.sum())
        for env in np.flatnonzero(next_time_step.is_last_t):
            episode_return = float(next_time_step.episode_return_t[env])
            self._recent_returns.append(episode_return)
            self._write(
                {
                    EPISODE_RETURN: episode_return,
                    EPISODE_LENGTH: int(next_time_step.episode_length_t[env]),
                }
            )
        self._progress.update(self.agent_steps, self._recent_returns)

    def _learn(self) -> None:
        self._set_learning_rates()
        plan, num_updates = self._plan, self.agent.num_updates
        num_due = plan.updates_due(self.agent_steps) - num_updates
        # By the steps at which updates are due: a turn that passes a log period may make none.
        period = plan.log_period_agent_steps
        begin, end = map(plan.agent_steps_of_update, (num_updates, num_updates + num_due))
        log = end // period > begin // period
        for index in range(num_due):
            is_measured = log and index == num_due - 1
            before = self._layer_log.parameters() if is_measured else {}
            batch = self.replay.sample(self._plan.batch_size)
            output = self.agent.learn(batch)
            self.replay.update_priorities(batch, output.priorities)
            self._interval.add(output.loss, output.q_mean)
            if is_measured:
                self._check_finite(batch)
                self._write(self._layer_log.measure(before, self.agent_steps))

    def _check_finite(self, batch: Batch) -> None:
        """What ``DQN.learn`` sees at once on the CPU is seen here on a GPU: once a log line."""
        if not self._interval.is_finite():
            raise NonFiniteError("the loss became infinite or NaN since the last log line", batch)

    def _set_learning_rates(self) -> None:
        factor = self._learning_rate_factor(self.agent_steps)
        groups = self.agent.optimizer.param_groups
        for group, learning_rate in zip(groups, self._initial_learning_rates, strict=True):
            group["lr"] = factor * learning_rate

    def _log_interval(self) -> None:
        metrics = self._interval.metrics(self.agent_steps, self.agent.num_updates)
        metrics[TRAIN_EPSILON] = self._behaviour_epsilon(self.agent_steps)
        metrics[TRAIN_LEARNING_RATE] = self.agent.optimizer.param_groups[0]["lr"]
        metrics[PEAK_MEMORY_GIGABYTES] = peak_resident_bytes() / 1e9
        self._write(metrics)
        self._interval = Interval(self.agent_steps, self.agent.num_updates, self.agent.device)

    def _evaluation_is_due(self) -> bool:
        period = self._plan.evaluation_period_agent_steps
        is_over = self.agent_steps >= self._plan.total_agent_steps
        has_passed = self.agent_steps // period > max(self.evaluated_agent_steps, 0) // period
        return has_passed or (is_over and self.evaluated_agent_steps != self.agent_steps)

    def _run_evaluation(self) -> None:
        started = time.perf_counter()
        evaluation = self._hooks.evaluate()
        if evaluation is not None:
            self._judge(evaluation)
            self._telemetry.write_evaluation(
                self.agent_steps,
                self.agent.num_updates,
                evaluation,
                elapsed_seconds=time.perf_counter() - started,
            )
            self._progress.note(
                f"step {self.agent_steps:,}: evaluation return {evaluation.return_mean:.1f} "
                f"± {evaluation.return_std:.1f} over {len(evaluation.returns)} games"
            )
        self._interval.exclude_seconds(time.perf_counter() - started)

    def _judge(self, evaluation: Evaluation) -> None:
        """Whether training is over, and whether these are the best weights so far."""
        self.evaluated_agent_steps = self.agent_steps
        stop_at = self._plan.stop_at_return_mean
        self.is_solved = stop_at is not None and evaluation.return_mean >= stop_at
        is_best = self.best is None or evaluation.return_mean > self.best.return_mean
        # Only the next update would notice that the last one has broken the network.
        if is_best and nonfinite_parameter(self.agent.network) is None:
            weights = {
                name: tensor.detach().to("cpu", copy=True)
                for name, tensor in self.agent.network.state_dict().items()
            }
            self.best = BestEvaluation(evaluation.return_mean, self.agent_steps, weights)
            self._hooks.keep_best(self)

    def _passed(self, period: int, previous_agent_steps: int) -> bool:
        return self.agent_steps // period > previous_agent_steps // period

    def _write(self, metrics: dict[str, float]) -> None:
        self._telemetry.write(self.agent_steps, self.agent.num_updates, metrics)


def newest_frame(observation_t: ObservationArray, stack_size: int) -> ObservationArray:
    """``[num_envs, *frame_shape]``: the last frame of each stack, which is all the replay keeps."""
    return observation_t[:, -1] if stack_size > 1 else observation_t
