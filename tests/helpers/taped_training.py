"""A trainer whose environment, agent, replay and telemetry note every call on one tape."""

import dataclasses

import numpy as np
import torch
from torch import nn

from dqn.agent import LearnOutput
from dqn.evaluation.whole_games import Evaluation
from dqn.training.parts import Hooks, Parts
from dqn.training.plan import TrainingPlan
from dqn.training.trainer import Trainer
from helpers.scripted_environment import ScriptedEnvironment

PLAN = TrainingPlan(
    total_agent_steps=20,
    warmup_agent_steps=4,
    agent_steps_per_update=2,
    batch_size=3,
    log_period_agent_steps=1000,
    evaluation_period_agent_steps=1000,
    checkpoint_period_agent_steps=1000,
    stop_at_return_mean=None,
)


class TapedEnvironment(ScriptedEnvironment):
    def __init__(self, games, tape):
        super().__init__(games)
        self.tape = tape

    def reset(self):
        self.tape.append("reset")
        return super().reset()

    def step_async(self, actions):
        self.tape.append("begin step")
        super().step_async(actions)

    def step_wait(self):
        self.tape.append("end step")
        return super().step_wait()

    def load_state_dict(self, state):
        self.tape.append("load games")
        return super().load_state_dict(state)


class TapedAgent:
    device = torch.device("cpu")

    def __init__(self, tape):
        self.tape = tape
        self.num_updates = 0
        self.network = nn.Linear(1, 1)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1)
        self.epsilons = []

    def act(self, time_step, behaviour_epsilon):
        self.tape.append("act")
        self.epsilons.append(behaviour_epsilon)
        return time_step.observation_t[:, 2].astype(np.int64) % 2

    def learn(self, batch):
        self.tape.append("learn")
        self.num_updates += 1
        self.network(torch.ones(1, 1)).sum().backward()
        return LearnOutput(
            loss=torch.tensor(float(self.num_updates)),
            q_mean=torch.tensor(2.0),
            priorities=torch.tensor([float(self.num_updates)]),
        )

    def state_dict(self):
        return {"num_updates": self.num_updates}

    def load_state_dict(self, state):
        self.num_updates = state["num_updates"]


class TapedReplay:
    def __init__(self, tape):
        self.tape = tape
        self.columns = []
        self.priorities = []

    def append(self, **column):
        self.tape.append("append")
        self.columns.append(column)

    def sample(self, batch_size):
        self.tape.append(f"sample {batch_size}")

    def update_priorities(self, batch, priorities):
        self.priorities.append(priorities.tolist())

    def state_dict(self, *, with_frames):
        assert not with_frames, "a copy of a full replay may not fit"
        return {"num_columns": len(self.columns)}

    def load_state_dict(self, state):
        pass


class TapedTelemetry:
    def __init__(self, tape):
        self.tape = tape
        self.lines = []
        self.evaluations = []

    def write(self, agent_steps, num_updates, metrics):
        self.tape.append(f"write {min(metrics)}")
        self.lines.append({"step": agent_steps, "updates": num_updates} | metrics)

    def write_evaluation(self, agent_steps, num_updates, evaluation, *, elapsed_seconds):
        self.tape.append("write evaluation")
        self.evaluations.append((agent_steps, evaluation.return_mean))

    def with_tag(self, tag):
        return [(line["step"], line[tag]) for line in self.lines if tag in line]


class SilentProgress:
    def update(self, agent_steps, recent_returns):
        pass

    def note(self, text):
        pass


class Run:
    """A trainer and everything around it."""

    def __init__(
        self,
        games,
        plan=PLAN,
        *,
        returns=(),
        stop_when=lambda run: False,
        learning_rate_factor=lambda agent_steps: 1.0,
        concurrent=False,
    ):
        self.tape = []
        self.environment = TapedEnvironment(games, self.tape)
        self.agent = TapedAgent(self.tape)
        self.replay = TapedReplay(self.tape)
        self.telemetry = TapedTelemetry(self.tape)
        self.saved = []
        self.best = []
        self.can_save = True
        self.returns = list(returns)
        self.trainer = Trainer(
            Parts(
                environment=self.environment,
                agent=self.agent,
                replay=self.replay,
                behaviour_epsilon=lambda agent_steps: agent_steps / 1000,
                learning_rate_factor=learning_rate_factor,
                plan=plan,
            ),
            Hooks(
                evaluate=lambda: self.evaluate(),  # looked up late, for tests replace them
                save=lambda trainer: self.save(trainer),
                keep_best=lambda trainer: self.best.append(trainer.best[:2]),
                should_stop=lambda: stop_when(self),
            ),
            telemetry=self.telemetry,
            progress=SilentProgress(),
            diagnose=None,
            log_histograms=False,
            concurrent=concurrent,
        )

    def evaluate(self):
        self.tape.append("evaluate")
        score = self.returns.pop(0) if self.returns else 0.0
        return None if score is None else Evaluation(returns=[score], lengths=[1])

    def save(self, trainer):
        self.tape.append("save")
        if self.can_save:
            self.saved.append(trainer.state_dict())
        return self.can_save

    @property
    def saved_steps(self):
        return [state["agent_steps"] for state in self.saved]


def plan(**changes):
    return dataclasses.replace(PLAN, **changes)
