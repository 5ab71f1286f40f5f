"""Objects from configurations: the numbers that reach the agent, the environments and the loop."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.tiny_runs import CARTPOLE, PONG, tiny_config

from dqn.config import ConfigError
from dqn.run import assembly, games
from dqn.run.seeding import derive_seeds
from dqn.types import Batch

SEEDS = derive_seeds(1)
CPU = torch.device("cpu")


def build_agent(config):
    environment = games.training_environment(config, seeds=SEEDS)
    try:
        return assembly.build_agent(config, environment, seeds=SEEDS, device=CPU)
    finally:
        environment.close()


def learn_once(config, *, reward):
    """Q(s, a) before one update, and the loss of that update, whose TD target is the reward."""
    agent = build_agent(config)
    state = torch.ones(1, 4)
    before = agent.network(state).q_values[0, 0].item()
    return before, agent.learn(terminal_batch(state, reward)).loss.item()


def terminal_batch(state, reward):
    return Batch(
        s_tm1=state,
        a_tm1=torch.zeros(len(state), dtype=torch.int64),
        r_t=torch.full((len(state),), reward),
        is_terminal_t=torch.ones(len(state), dtype=torch.bool),
        s_t=state,
        num_steps=torch.ones(len(state), dtype=torch.int64),
    )


def test_control_rewards_are_not_clipped(tmp_path):
    config = tiny_config(tmp_path, "loss.error_bound=null")
    before, loss = learn_once(config, reward=7.0)
    assert loss == pytest.approx((7.0 - before) ** 2 / 2, rel=1e-5)


def test_error_bound_and_reduction_reach_the_loss(tmp_path):
    before, loss = learn_once(tiny_config(tmp_path, "loss.error_bound=0.5"), reward=7.0)
    assert loss == pytest.approx(0.5 * (7.0 - before - 0.25), rel=1e-5)
    losses = []
    for reduction in ("sum", "mean"):
        agent = build_agent(tiny_config(tmp_path, f"agent.loss_reduction={reduction}"))
        losses.append(agent.learn(terminal_batch(torch.ones(8, 4), 1.0)).loss.item())
    assert losses[0] == pytest.approx(8 * losses[1], rel=1e-5)


def test_atari_rewards_are_clipped_as_the_protocol_says(tmp_path):
    agent = build_agent(tiny_config(tmp_path, base=PONG))
    state = torch.zeros(1, 4, 84, 84, dtype=torch.uint8)
    before = agent.network(state).q_values[0, 0].item()
    loss = agent.learn(terminal_batch(state, 50.0)).loss.item()
    assert loss == pytest.approx((1.0 - before) ** 2 / 2, rel=1e-4)


def test_target_period_is_counted_in_updates(tmp_path):
    agent = build_agent(
        tiny_config(
            tmp_path, "agent.target_update_period_agent_steps=12", "agent.agent_steps_per_update=4"
        )
    )
    copies = []
    for _ in range(6):
        agent.learn(terminal_batch(torch.ones(2, 4), 1.0))
        pairs = zip(agent.network.parameters(), agent.target_network.parameters(), strict=True)
        copies.append(all(torch.equal(ours, theirs) for ours, theirs in pairs))
    assert copies == [False, False, True, False, False, True]


def test_network_depends_on_its_own_seed_alone(tmp_path):
    def first_weight(*overrides):
        torch.rand(17)  # whatever was drawn before
        return next(build_agent(tiny_config(tmp_path, *overrides)).network.parameters())

    torch.testing.assert_close(first_weight(), first_weight("optimizer=adam"), rtol=0, atol=0)


def test_bf16_reaches_the_networks(tmp_path):
    state = np.linspace(-1, 1, 400, dtype=np.float32).reshape(100, 4)
    values = []
    for precision in ("fp32", "bf16"):
        agent = build_agent(tiny_config(tmp_path, f"precision={precision}"))
        with torch.no_grad():
            values.append(agent._forward(agent.network, torch.from_numpy(state)).q_values)
    assert not torch.equal(*values)
    torch.testing.assert_close(*values, rtol=0, atol=0.02)


def test_behaviour_epsilon_stays_through_the_warm_up_and_then_falls_in_a_line(tmp_path):
    epsilon = assembly.build_behaviour_epsilon(
        tiny_config(
            tmp_path,
            "agent.warmup_agent_steps=100",
            "agent.epsilon.begin=1.0",
            "agent.epsilon.end=0.2",
            "agent.epsilon.decay_agent_steps=400",
        )
    )
    values = [epsilon(agent_steps) for agent_steps in (0, 100, 300, 500, 10**6)]
    assert values == pytest.approx([1.0, 1.0, 0.6, 0.2, 0.2])


def test_without_a_decay_exploration_is_at_its_end_from_the_start(tmp_path):
    epsilon = assembly.build_behaviour_epsilon(
        tiny_config(tmp_path, "agent.epsilon.decay_agent_steps=0", "agent.epsilon.end=0.3")
    )
    assert epsilon(0) == epsilon(10**6) == 0.3


@pytest.mark.parametrize(
    ("overrides", "base", "expected"),
    [
        ((), PONG, 0.05),
        (("env.protocol=machado",), PONG, 0.001),
        (("evaluation.epsilon=0.2",), PONG, 0.2),
        (("evaluation.epsilon=0.0",), PONG, 0.0),
        (("evaluation.epsilon=null",), CARTPOLE, 0.0),
    ],
)
def test_evaluation_epsilon_is_the_configured_one_or_the_protocols(
    tmp_path, overrides, base, expected
):
    config = tiny_config(tmp_path, *overrides, base=base)
    assert games.evaluation_epsilon(config) == expected


@pytest.mark.parametrize(
    ("num_games", "max_num_envs", "num_envs"), [(30, 10, 10), (7, 5, 1), (12, 5, 4), (3, 10, 3)]
)
def test_evaluation_games_are_shared_by_as_many_environments_as_divide_them(
    tmp_path, monkeypatch, num_games, max_num_envs, num_envs
):
    built = []
    build = games.build_environment

    def note(*arguments, **options):
        built.append(options["num_envs"])
        return build(*arguments, **options)

    monkeypatch.setattr(games, "build_environment", note)
    config = tiny_config(
        tmp_path, f"evaluation.num_games={num_games}", f"evaluation.max_num_envs={max_num_envs}"
    )
    evaluation = games.evaluate_agent(
        config, build_agent(config), seeds=SEEDS, should_stop=lambda: False
    )
    assert len(evaluation.returns) == num_games
    assert built[-1] == num_envs


def test_plan_takes_every_length_and_period(tmp_path):
    plan = assembly.build_plan(tiny_config(tmp_path, "evaluation.stop_at_return_mean=475"))
    stated = {
        "total_agent_steps": 400,
        "warmup_agent_steps": 64,
        "agent_steps_per_update": 4,
        "batch_size": 32,
        "log_period_agent_steps": 50,
        "evaluation_period_agent_steps": 200,
        "checkpoint_period_agent_steps": 100,
        "stop_at_return_mean": 475.0,
    }
    assert {key: dataclasses.asdict(plan)[key] for key in stated} == stated


def test_optimizer_that_refuses_its_arguments_is_a_configuration_error(tmp_path):
    config = tiny_config(tmp_path, "optimizer=sgd", "optimizer.nesterov=true")
    with pytest.raises(ConfigError, match=r"optimizer \(torch.optim.SGD\): .*momentum"):
        build_agent(config)


def test_unknown_game_is_refused_before_anything_is_built(tmp_path):
    with pytest.raises(ConfigError, match=r"env.game='pongg'.*did you mean pong\?"):
        tiny_config(tmp_path, "env.game=pongg", base=PONG)
