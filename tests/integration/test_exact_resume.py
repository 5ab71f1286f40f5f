"""A run that was interrupted and continued is, bit for bit, the run that was not."""

import copy
import itertools
import json
import signal
from pathlib import Path

import pytest
import torch
from faults.same_runs import content, differences
from helpers.tiny_runs import CARTPOLE, MINATAR, PONG, tiny_config

from dqn.environments.action_log import ActionLog
from dqn.run import lifecycle

OPTIMIZERS = sorted(
    path.stem for path in (Path(__file__).parents[2] / "configs" / "optimizer").glob("*.yaml")
)
SHORT_CARTPOLE = (*CARTPOLE, "total_agent_steps=300", "evaluation.period_agent_steps=100")
SHORT_PONG = (
    *PONG,
    "total_agent_steps=420",
    "evaluation.period_agent_steps=1000",
    "evaluation.epsilon=0.5",  # an untrained network never serves, and its games last for ever
    "checkpoint.period_agent_steps=60",
)


def interrupt_every(monkeypatch, num_turns):
    """SIGTERM to this process in the middle of every ``num_turns``-th turn of the loop."""
    update = lifecycle.Progress.update
    count = itertools.count(1)

    def counted(progress, *arguments):
        update(progress, *arguments)
        if next(count) % num_turns == 0:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(lifecycle.Progress, "update", counted)


def train_with_interruptions(config, monkeypatch, num_turns):
    """Give the same command again until it is finished; how often it was stopped."""
    with monkeypatch.context() as patch:
        interrupt_every(patch, num_turns)
        for num_stops in itertools.count():
            try:
                lifecycle.train(config, label="interrupted")
                return num_stops
            except SystemExit as stop:
                if stop.code != 143:
                    raise


def assert_same_run(one, other):
    found = differences(content(one), content(other))
    assert not found, json.dumps(found[:20], indent=1)


def check_interrupted_run(tmp_path, monkeypatch, *overrides, base, num_turns, min_stops):
    """Train straight through, and with an interruption every ``num_turns``; compare every bit."""
    straight, interrupted = (
        tiny_config(tmp_path / name, *overrides, base=base) for name in ("straight", "interrupted")
    )
    lifecycle.train(straight, label="straight")
    assert train_with_interruptions(interrupted, monkeypatch, num_turns) >= min_stops
    assert_same_run(tmp_path / "straight", tmp_path / "interrupted")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_goes_on_to_the_bit(tmp_path, monkeypatch, optimizer):
    check_interrupted_run(
        *(tmp_path, monkeypatch, f"optimizer={optimizer}"),
        base=SHORT_CARTPOLE,
        num_turns=23,
        min_stops=3,
    )


@pytest.mark.parametrize("protocol", ["nature", "machado"])
def test_atari_goes_on_to_the_bit(tmp_path, monkeypatch, protocol):
    """Breakout loses lives and games; a new seed every 50 steps, the ring goes round twice."""
    monkeypatch.setattr(ActionLog, "seeding_period_agent_steps", 50)
    check_interrupted_run(
        *(tmp_path, monkeypatch, "env.game=breakout", f"env.protocol={protocol}"),
        base=SHORT_PONG,
        num_turns=71,
        min_stops=2,
    )


@pytest.mark.parametrize(("task", "num_dimensions"), [("acrobot", 6), ("mountain_car", 2)])
def test_other_control_tasks_go_on_to_the_bit(tmp_path, monkeypatch, task, num_dimensions):
    scale = f"network.torso.input_scale={[1.0] * num_dimensions}"
    check_interrupted_run(
        *(tmp_path, monkeypatch, f"env={task}", scale, "evaluation.num_games=1"),
        base=SHORT_CARTPOLE,
        num_turns=31,
        min_stops=2,
    )


@pytest.mark.parametrize("game", ["asterix", "seaquest"])
def test_minatar_goes_on_to_the_bit(tmp_path, monkeypatch, game):
    """Sticky actions, games that grow harder, returns of three steps, double Q-learning."""
    pytest.importorskip("minatar", reason="needs rmsprop-dqn[minatar]")
    check_interrupted_run(
        *(tmp_path, monkeypatch, f"env.game={game}"), base=MINATAR, num_turns=47, min_stops=2
    )


def test_comparison_notices_a_single_bit(tmp_path):
    lifecycle.train(tiny_config(tmp_path / "a", base=SHORT_CARTPOLE), label="a")
    lifecycle.train(tiny_config(tmp_path / "b", "seed=2", base=SHORT_CARTPOLE), label="b")
    one, other = content(tmp_path / "a"), content(tmp_path / "b")
    assert differences(one, one) == []
    found = " ".join(differences(one, other))
    for part in ("agent.network", "agent.optimizer", "replay", "frames", "metrics", "tensorboard"):
        assert part in found
    weight = other["checkpoint"]["agent"]["network"]["head.linear.bias"]
    changed = copy.deepcopy(other)
    weight.view(torch.int32)[0] ^= 1
    assert differences(changed, other) == [".checkpoint.agent.network.head.linear.bias"]
