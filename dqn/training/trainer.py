"""The training loop: collect, learn, log, evaluate, checkpoint; one vector of decisions a turn."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np
import torch

from dqn.agent import DQN, AgentState, NonFiniteError
from dqn.environments import VectorEnvironment
from dqn.evaluation.whole_games import Evaluation
from dqn.replay import ReplayState, UniformReplay
from dqn.system.memory import peak_resident_bytes
from dqn.training.interval import Interval, IntervalState
from dqn.training.nonfinite import nonfinite_parameter
from dqn.training.plan import TrainingPlan
from dqn.training.progress import Progress
from dqn.training.telemetry import Telemetry
from dqn.types import Batch, IntArray, ObservationArray, TimeStep
from rmsprop import LayerSummary, update_ratios

# How many of the last games the progress line averages.
PROGRESS_GAMES = 20
# A checkpoint that could not be written is tried again after this share of the period.
RETRY_SHARE = 0.1


class Diagnose(Protocol):
    """Per-layer effective learning rates of the agent's optimizer, by parameter name."""

    def __call__(self, optimizer: torch.optim.Optimizer) -> dict[str, LayerSummary]: ...


class GamesError(RuntimeError):
    """The games in progress of a checkpoint cannot be gone on with."""


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


class TrainerState(TypedDict):
    """Everything that decides how the training goes on."""

    agent: AgentState
    replay: ReplayState
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
        environment: for training; reset when ``run`` starts.
        agent: acts and learns.
        replay: receives every frame.
        behaviour_epsilon: schedule from agent steps to ε.
        learning_rate_factor: schedule from agent steps to what the optimizer's rates are
            multiplied by.
        plan: lengths and periods.
        evaluate: plays the evaluation games; returns None when told to stop half-way.
        diagnose: effective learning rates of the optimizer by layer, or None where unknown.
        telemetry: where metrics go.
        progress: the line a person watches.
        save: writes a checkpoint of this trainer; False where it could not be written.
        keep_best: keeps the weights of the best evaluation so far.
        should_stop: polled at every turn.
        log_histograms: also write the histogram of each layer's effective learning rates.
        concurrent: learn while the environments step, one vector of decisions behind.
    """

    def __init__(
        self,
        *,
        environment: VectorEnvironment,
        agent: DQN,
        replay: UniformReplay,
        behaviour_epsilon: Callable[[int], float],
        learning_rate_factor: Callable[[int], float],
        plan: TrainingPlan,
        evaluate: Callable[[], Evaluation | None],
        diagnose: Diagnose | None,
        telemetry: Telemetry,
        progress: Progress,
        save: Callable[["Trainer"], bool],
        keep_best: Callable[["Trainer"], None],
        should_stop: Callable[[], bool],
        log_histograms: bool,
        concurrent: bool,
    ) -> None:
        self.agent = agent
        self.replay = replay
        self.agent_steps = 0
        self.evaluated_agent_steps = -1
        self.is_solved = False
        self.best: BestEvaluation | None = None
        self._environment = environment
        self._behaviour_epsilon = behaviour_epsilon
        self._learning_rate_factor = learning_rate_factor
        # Read before a resumed optimizer brings the rates that the schedule had come to.
        self._initial_learning_rates = [g["lr"] for g in agent.optimizer.param_groups]
        self._plan = plan
        self._evaluate = evaluate
        self._diagnose = diagnose
        self._telemetry = telemetry
        self._progress = progress
        self._save = save
        self._keep_best = keep_best
        self._should_stop = should_stop
        self._log_histograms = log_histograms
        self._concurrent = concurrent
        self._saved_agent_steps = 0
        self._save_again_at_agent_steps = 0
        self._time_step: TimeStep | None = None
        self._recent_returns: deque[float] = deque(maxlen=PROGRESS_GAMES)
        self._interval = Interval(self.agent_steps, self.agent.num_updates, agent.device)

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
        while not self._should_stop():
            if self._evaluation_is_due():
                self._run_evaluation()
            elif self.is_finished:
                self._save(self)
                return True
            elif self._checkpoint_is_due():
                self._run_save()
            else:
                previous_agent_steps = self.agent_steps
                self._time_step = self._turn(self._time_step)
                if self._passed(self._plan.log_period_agent_steps, previous_agent_steps):
                    self._log_interval()
        self._save(self)
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
        if self._save(self):
            self._saved_agent_steps = self.agent_steps
        else:
            period = self._plan.checkpoint_period_agent_steps
            self._save_again_at_agent_steps = self.agent_steps + max(1, int(RETRY_SHARE * period))

    def _turn(self, time_step: TimeStep) -> TimeStep:
        actions = self.agent.act(time_step.observation_t, self._behaviour_epsilon(self.agent_steps))
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
        is_decision = ~time_step.is_last_t
        self.replay.append(
            frame_tm1=newest_frame(time_step.observation_t, self._environment.stack_size),
            is_first_tm1=time_step.is_first_t,
            action_tm1=actions,
            reward_t=next_time_step.reward_t,
            is_terminal_t=next_time_step.is_terminal_t,
            is_transition=is_decision,
        )
        self.agent_steps += int(is_decision.sum())
        for env in np.flatnonzero(next_time_step.is_last_t):
            episode_return = float(next_time_step.episode_return_t[env])
            self._recent_returns.append(episode_return)
            self._write(
                {
                    "episode/return": episode_return,
                    "episode/length": int(next_time_step.episode_length_t[env]),
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
            before = self._parameters() if is_measured else {}
            batch = self.replay.sample(self._plan.batch_size)
            output = self.agent.learn(batch)
            self._interval.add(output.loss, output.q_mean)
            if is_measured:
                self._check_finite(batch)
                self._log_layers(before)

    def _check_finite(self, batch: Batch) -> None:
        """What ``DQN.learn`` sees at once on the CPU is seen here on a GPU: once a log line."""
        if not self._interval.is_finite():
            raise NonFiniteError("the loss became infinite or NaN since the last log line", batch)

    def _set_learning_rates(self) -> None:
        factor = self._learning_rate_factor(self.agent_steps)
        groups = self.agent.optimizer.param_groups
        for group, learning_rate in zip(groups, self._initial_learning_rates, strict=True):
            group["lr"] = factor * learning_rate

    def _log_layers(self, before: dict[str, torch.Tensor]) -> None:
        """What the optimizer did in the update just made, layer by layer."""
        started = time.perf_counter()
        metrics: dict[str, float] = {"train/grad_norm": self._grad_norm()}
        for name, ratio in update_ratios(before, self._parameters()).items():
            metrics[f"update_ratio/{name}"] = ratio
        if self._diagnose is not None:
            for name, summary in self._diagnose(self.agent.optimizer).items():
                metrics |= summary.scalars(name)
                if self._log_histograms:
                    self._telemetry.write_histogram(
                        self.agent_steps, f"effective_lr_log10/{name}", summary.log10_histogram
                    )
        metrics["speed/diagnostics_seconds"] = time.perf_counter() - started
        self._write(metrics)

    def _log_interval(self) -> None:
        metrics = self._interval.metrics(self.agent_steps, self.agent.num_updates)
        metrics["train/epsilon"] = self._behaviour_epsilon(self.agent_steps)
        metrics["train/learning_rate"] = self.agent.optimizer.param_groups[0]["lr"]
        metrics["speed/peak_memory_gigabytes"] = peak_resident_bytes() / 1e9
        self._write(metrics)
        self._interval = Interval(self.agent_steps, self.agent.num_updates, self.agent.device)

    def _evaluation_is_due(self) -> bool:
        period = self._plan.evaluation_period_agent_steps
        is_over = self.agent_steps >= self._plan.total_agent_steps
        has_passed = self.agent_steps // period > max(self.evaluated_agent_steps, 0) // period
        return has_passed or (is_over and self.evaluated_agent_steps != self.agent_steps)

    def _run_evaluation(self) -> None:
        started = time.perf_counter()
        evaluation = self._evaluate()
        if evaluation is None:
            self._interval.exclude_seconds(time.perf_counter() - started)
            return
        self.evaluated_agent_steps = self.agent_steps
        stop_at = self._plan.stop_at_return_mean
        self.is_solved = stop_at is not None and evaluation.return_mean >= stop_at
        is_best = self.best is None or evaluation.return_mean > self.best.return_mean
        # An update that breaks the network is noticed at the next one, which is yet to come.
        if is_best and nonfinite_parameter(self.agent.network) is None:
            weights = {
                name: tensor.detach().to("cpu", copy=True)
                for name, tensor in self.agent.network.state_dict().items()
            }
            self.best = BestEvaluation(evaluation.return_mean, self.agent_steps, weights)
            self._keep_best(self)
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

    def _parameters(self) -> dict[str, torch.Tensor]:
        return {
            name: parameter.detach().clone()
            for name, parameter in self.agent.network.named_parameters()
        }

    def _grad_norm(self) -> float:
        gradients = [p.grad for p in self.agent.network.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _passed(self, period: int, previous_agent_steps: int) -> bool:
        return self.agent_steps // period > previous_agent_steps // period

    def _write(self, metrics: dict[str, float]) -> None:
        self._telemetry.write(self.agent_steps, self.agent.num_updates, metrics)


def newest_frame(observation_t: ObservationArray, stack_size: int) -> ObservationArray:
    """``[num_envs, *frame_shape]``: the last frame of each stack, which is all the replay keeps."""
    return observation_t[:, -1] if stack_size > 1 else observation_t
