"""Learning beside the emulators against the same steps one after the other."""

import pytest
import torch
from helpers.tiny_runs import PONG, read_lines, repeatable, tiny_config

from dqn import checkpoint
from dqn.run import assembly, games, lifecycle
from dqn.run.seeding import derive_seeds
from dqn.training.trainer import newest_frame

CPU = torch.device("cpu")


def play_one_after_the_other(config, *, learn_first):
    """What ``Trainer`` should do, without its periods and without anything at the same time."""
    seeds = derive_seeds(config.seed)
    environment = games.training_environment(config, seeds=seeds)
    agent = assembly.build_agent(config, environment, seeds=seeds, device=CPU)
    replay = assembly.build_replay(config, environment, seed=seeds.replay, device=CPU)
    behaviour_epsilon = assembly.build_behaviour_epsilon(config)
    learning_rate_factor = assembly.build_learning_rate_factor(config)
    learning_rate = agent.optimizer.param_groups[0]["lr"]
    plan = assembly.build_plan(config)
    agent_steps = 0

    def learn():
        while agent.num_updates < plan.updates_due(agent_steps):
            for group in agent.optimizer.param_groups:
                group["lr"] = learning_rate * learning_rate_factor(agent_steps)
            agent.learn(replay.sample(plan.batch_size))

    time_step = environment.reset()
    while agent_steps < config.total_agent_steps:
        actions = agent.act(time_step, behaviour_epsilon(agent_steps))
        if learn_first:
            learn()
        next_time_step = environment.step(actions)
        replay.append(
            frame_tm1=newest_frame(time_step.observation_t, environment.stack_size),
            is_first_tm1=time_step.is_first_t,
            action_tm1=actions,
            reward_t=next_time_step.reward_t,
            is_terminal_t=next_time_step.is_terminal_t,
            is_transition=~time_step.is_last_t,
        )
        agent_steps += int((~time_step.is_last_t).sum())
        if not learn_first:
            learn()
        time_step = next_time_step
    environment.close()
    return agent


@pytest.mark.parametrize("concurrent", [True, False])
def test_what_is_learned_does_not_depend_on_what_happens_at_the_same_time(tmp_path, concurrent):
    config = tiny_config(tmp_path / "run", "env.num_envs=4", f"concurrent={concurrent}", base=PONG)
    lifecycle.train(config, label="pong")
    newest = checkpoint.available(tmp_path / "run" / "checkpoints")[-1]
    trained = checkpoint.load(newest).state["agent"]
    expected = play_one_after_the_other(config, learn_first=concurrent)
    # 300 agent steps, 200 of them warm-up, an update for every 4; concurrent is a turn behind.
    assert trained["num_updates"] == expected.num_updates == (24 if concurrent else 25)
    for name, value in expected.network.state_dict().items():
        assert torch.equal(trained["network"][name], value), name


def test_concurrent_runs_repeat_exactly(tmp_path):
    lines = []
    for name in ("first", "second"):
        config = tiny_config(tmp_path / name, "concurrent=true", base=PONG)
        lifecycle.train(config, label="pong")
        lines.append(repeatable(read_lines(tmp_path / name / "metrics.jsonl")))
    assert lines[0] == lines[1]
