"""A loss that is not finite: where it began is named, and what is kept can be looked at."""

import numpy as np
import pytest
import torch
from helpers.tiny_runs import tiny_config

from dqn import checkpoint
from dqn.agent import NonFiniteError
from dqn.run import assembly, games, lifecycle
from dqn.run.seeding import derive_seeds
from dqn.training.nonfinite import first_nonfinite, write_dump
from dqn.types import Batch


@pytest.fixture
def agent(tmp_path):
    config, seeds = tiny_config(tmp_path), derive_seeds(1)
    environment = games.training_environment(config, seeds=seeds)
    built = assembly.build_agent(config, environment, seeds=seeds, device=torch.device("cpu"))
    environment.close()
    return built


def batch(**changes):
    fields = {
        "s_tm1": torch.randn(8, 4),
        "a_tm1": torch.zeros(8, dtype=torch.int64),
        "r_t": torch.ones(8),
        "is_terminal_t": torch.zeros(8, dtype=torch.bool),
        "s_t": torch.randn(8, 4),
        "num_steps": torch.ones(8, dtype=torch.int64),
    }
    return Batch(**(fields | changes))


def with_nan(tensor, *index):
    tensor = tensor.clone()
    tensor[index] = float("nan")
    return tensor


def test_batch_is_named_with_its_transitions(agent):
    damaged = batch(r_t=with_nan(torch.ones(8), 3))
    assert first_nonfinite(agent, damaged) == "r_t of the batch (its transitions 3)"
    damaged = batch(s_t=with_nan(torch.randn(8, 4), slice(0, 7), 2))
    assert first_nonfinite(agent, damaged) == (
        "s_t of the batch (its transitions 0, 1, 2, 3, 4 and 2 more)"
    )


def test_parameter_is_named_with_its_network(agent):
    names = [name for name, _ in agent.network.named_parameters()]
    with torch.no_grad():
        dict(agent.target_network.named_parameters())[names[1]][0] = float("inf")
    expected = f"parameter {names[1]} of the target network (6% of its elements)"
    assert first_nonfinite(agent, batch()) == expected
    with torch.no_grad():
        dict(agent.network.named_parameters())[names[0]].fill_(float("nan"))
    expected = f"parameter {names[0]} of the network (100% of its elements)"
    assert first_nonfinite(agent, batch()) == expected


def test_layer_whose_output_overflows_is_named(agent):
    with torch.no_grad():
        for parameter in agent.network.parameters():
            parameter.fill_(1e30)
    found = first_nonfinite(agent, batch(s_tm1=torch.ones(8, 4)))
    assert found == "output of layer head.linear of the network for s_tm1"


def test_loss_is_refused_before_the_weights_are_touched(agent):
    before = {name: tensor.clone() for name, tensor in agent.network.state_dict().items()}
    damaged = batch(r_t=torch.full((8,), float("nan")))
    with pytest.raises(NonFiniteError, match="the loss is nan") as error:
        agent.learn(damaged)
    assert error.value.batch is damaged
    assert agent.num_updates == 0
    for name, tensor in agent.network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_dump_holds_the_batch_and_the_agent_and_executes_nothing(agent, tmp_path):
    damaged = batch(r_t=with_nan(torch.ones(8), 3))
    path = tmp_path / "nonfinite" / "update.pt"
    write_dump(path, agent, damaged, "the loss is nan")
    content = torch.load(path, weights_only=True)
    np.testing.assert_array_equal(content["batch"]["r_t"].numpy(), damaged.r_t.numpy())
    assert content["message"] == "the loss is nan"
    assert content["agent"]["network"].keys() == agent.network.state_dict().keys()


def test_run_that_comes_apart_says_where_and_keeps_its_last_good_checkpoint(tmp_path, capsys):
    config = tiny_config(
        tmp_path / "run",
        "optimizer=sgd",
        "optimizer.lr=1e-3",
        "agent.learning_rate.begin_factor=1.0",
        "agent.learning_rate.end_factor=1e38",
        "agent.learning_rate.decay_agent_steps=300",
        "checkpoint.period_agent_steps=20",
    )
    with pytest.raises(SystemExit) as stop:
        lifecycle.train(config, label="run")
    assert stop.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    (dump,) = (tmp_path / "run" / "nonfinite").iterdir()
    newest = checkpoint.available(tmp_path / "run" / "checkpoints")[-1]
    for part in ("at update ", "first not finite: ", str(dump), str(newest), "optimizer.lr"):
        assert part in line
    weights = checkpoint.load(newest).state["agent"]["network"]
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert torch.load(dump, weights_only=True)["batch"] is not None
