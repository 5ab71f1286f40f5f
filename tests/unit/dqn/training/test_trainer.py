"""The training loop, with stand-ins that note every call on one tape."""

import numpy as np
import pytest
from helpers.scripted_environment import Game
from helpers.taped_training import Run, plan

from dqn.agent import NonFiniteError
from dqn.training.trainer import GamesError


def test_calls_come_in_this_order():
    run = Run(
        [[Game(2, 7.0)]],
        plan(
            total_agent_steps=3,
            warmup_agent_steps=1,
            agent_steps_per_update=1,
            log_period_agent_steps=2,
            evaluation_period_agent_steps=2,
            checkpoint_period_agent_steps=1,
        ),
    )
    assert run.trainer.run()
    collect = ["act", "begin step", "end step", "append"]
    learn = ["sample 3", "learn"]
    logged = ["write speed/diagnostics_seconds", "write speed/agent_steps_per_second"]
    evaluated = ["evaluate", "write evaluation"]
    assert run.tape == [
        "reset",
        *[*collect, "save"],
        *[*collect, "write episode/length", *learn, *logged, *evaluated, "save"],
        *collect,  # the environment restarts: no agent step, nothing is due
        *[*collect, *learn, *evaluated, "save"],  # the end saves once, period or not
    ]


def test_concurrent_learning_fills_the_time_of_the_step_with_the_updates_due_before_it():
    run = Run(
        [[Game(100, 0.0)]] * 2,
        plan(total_agent_steps=8, warmup_agent_steps=2, agent_steps_per_update=2),
        concurrent=True,
    )
    assert run.trainer.run()
    turn = ["act", "begin step", "sample 3", "learn", "end step", "append"]
    without_updates = ["act", "begin step", "end step", "append"]
    assert run.tape[1:-3] == [*without_updates * 2, *turn * 2]
    # The last turn's update would be made in the next one.
    assert run.agent.num_updates == 2


def test_restarts_never_become_transitions():
    games = [[Game(2, 1.0), Game(3, 2.0)], [Game(1, 4.0), Game(4, 8.0, is_cut=True)]]
    run = Run(games, plan(total_agent_steps=40))
    run.trainer.run()
    num_agent_steps = 0
    for column in run.replay.columns:
        for env in range(2):
            _, number, made = column["frame_tm1"][env]
            game = games[env][int(number) % 2]
            is_transition = made < game.length
            is_last_agent_step = made == game.length - 1
            num_agent_steps += is_transition
            assert column["is_transition"][env] == is_transition
            assert column["is_first_tm1"][env] == (made == 0)
            assert column["reward_t"][env] == (game.score if is_last_agent_step else 0.0)
            if is_transition:
                assert column["action_tm1"][env] == made % 2
                is_terminal = is_last_agent_step and not game.is_cut
                assert column["is_terminal_t"][env] == is_terminal
    assert run.trainer.agent_steps == num_agent_steps
    assert 40 <= num_agent_steps < 42, "stops with the turn that reaches the total"


def test_episode_returns_are_those_of_whole_games_at_the_step_they_ended():
    run = Run([[Game(2, 1.0), Game(3, 2.0)]], plan(total_agent_steps=10))
    run.trainer.run()
    assert run.telemetry.with_tag("episode/return") == [(2, 1.0), (5, 2.0), (7, 1.0), (10, 2.0)]
    assert run.telemetry.with_tag("episode/length") == [(2, 2), (5, 3), (7, 2), (10, 3)]


def test_exploration_rate_follows_the_agent_steps():
    run = Run([[Game(100, 0.0)]] * 3, plan(total_agent_steps=12))
    run.trainer.run()
    assert run.agent.epsilons == [0.0, 0.003, 0.006, 0.009]


@pytest.mark.parametrize("num_envs", [1, 3, 8])
@pytest.mark.parametrize("agent_steps_per_update", [1, 4, 7])
def test_updates_keep_their_ratio_to_agent_steps_at_every_turn(num_envs, agent_steps_per_update):
    run = Run(
        [[Game(3 + env, 0.0)] for env in range(num_envs)],
        plan(
            total_agent_steps=100,
            warmup_agent_steps=10,
            agent_steps_per_update=agent_steps_per_update,
        ),
    )
    run.trainer.run()
    updates = np.cumsum([call == "learn" for call in run.tape])
    agent_steps = np.cumsum([column["is_transition"].sum() for column in run.replay.columns])
    ends = [index - 1 for index, call in enumerate(run.tape) if call == "act"][1:]
    for end, made in zip(ends, agent_steps, strict=False):
        assert updates[end] == max(0, made - 10) // agent_steps_per_update
    assert run.agent.num_updates == (agent_steps[-1] - 10) // agent_steps_per_update


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_every_period_acts_once_where_it_is_crossed(num_envs):
    run = Run(
        [[Game(4 + env, 0.0)] for env in range(num_envs)],
        plan(
            total_agent_steps=100,
            log_period_agent_steps=5,
            evaluation_period_agent_steps=20,
            checkpoint_period_agent_steps=30,
        ),
    )
    run.trainer.run()
    positions = [0]
    for column in run.replay.columns:
        positions.append(positions[-1] + int(column["is_transition"].sum()))

    def crossings(period):
        return [
            next(position for position in positions if position >= multiple)
            for multiple in range(period, 101, period)
        ]

    logged = [step for step, _ in run.telemetry.with_tag("train/epsilon")]
    assert logged == sorted(set(crossings(5)))  # eight agent steps at once may cross two multiples
    assert [step for step, _ in run.telemetry.evaluations] == crossings(20)
    assert run.saved_steps == [*crossings(30), positions[-1]]


def test_logged_loss_is_the_mean_over_the_updates_since_the_last_line():
    run = Run(
        [[Game(1000, 0.0)]],
        plan(total_agent_steps=10, warmup_agent_steps=4, log_period_agent_steps=5,
             agent_steps_per_update=1),
    )  # fmt: skip
    run.trainer.run()
    # The agent's n-th loss is n: one update by step 5, then 2 to 6.
    assert run.telemetry.with_tag("train/loss") == [(5, 1.0), (10, 4.0)]
    assert run.telemetry.with_tag("train/q_mean") == [(5, 2.0), (10, 2.0)]


def test_without_an_update_there_is_no_loss_to_log():
    run = Run([[Game(10, 0.0)]], plan(total_agent_steps=4, log_period_agent_steps=2))
    run.trainer.run()
    assert run.telemetry.with_tag("train/loss") == []
    assert run.telemetry.with_tag("train/epsilon") == [(2, 0.002), (4, 0.004)]


def test_logged_learning_rate_is_the_scheduled_one_before_the_first_update_too():
    run = Run(
        [[Game(10, 0.0)]],
        plan(total_agent_steps=4, log_period_agent_steps=2),
        learning_rate_factor=lambda agent_steps: 4.0,
    )
    initial = run.agent.optimizer.param_groups[0]["lr"]
    run.trainer.run()
    assert run.agent.num_updates == 0
    logged = run.telemetry.with_tag("train/learning_rate")
    assert logged == [(2, 4 * initial), (4, 4 * initial)]


@pytest.mark.parametrize("warmup_agent_steps", [4, 5, 6, 7])
def test_layers_are_logged_once_a_period_wherever_updates_fall(warmup_agent_steps):
    """One environment, an update every fourth agent step: three turns of four make none."""
    run = Run(
        [[Game(1000, 0.0)]],
        plan(
            total_agent_steps=100,
            warmup_agent_steps=warmup_agent_steps,
            agent_steps_per_update=4,
            log_period_agent_steps=20,
            evaluation_period_agent_steps=100,
        ),
    )
    run.trainer.run()
    steps = [step for step, _ in run.telemetry.with_tag("train/grad_norm")]
    assert [step // 20 for step in steps] in ([1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert all(step % 20 < 4 for step in steps)


def test_stop_saves_and_is_not_finished():
    run = Run([[Game(5, 0.0)]], stop_when=lambda run: run.trainer.agent_steps == 7)
    assert not run.trainer.run()
    assert run.saved_steps == [7]
    assert run.tape[-1] == "save"
    assert not run.trainer.is_finished


def test_evaluation_stopped_half_way_is_made_again_by_the_resumed_run():
    settings = plan(evaluation_period_agent_steps=10)
    stopped = Run(
        [[Game(5, 0.0)]],
        settings,
        returns=[None],
        stop_when=lambda run: "evaluate" in run.tape,
    )
    assert not stopped.trainer.run()
    assert stopped.telemetry.evaluations == []
    assert stopped.saved_steps == [10]
    resumed = Run([[Game(5, 0.0)]], settings, returns=[3.0, 4.0])
    resumed.trainer.load_state_dict(stopped.saved[-1])
    assert resumed.trainer.run()
    assert resumed.tape[:3] == ["load games", "evaluate", "write evaluation"]
    assert resumed.telemetry.evaluations == [(10, 3.0), (20, 4.0)]
    assert resumed.agent.num_updates == (20 - 4) // 2


def test_checkpoint_knows_of_the_evaluation_made_at_its_step():
    """Otherwise a run that is killed later and resumed from it would log that evaluation twice."""
    run = Run(
        [[Game(5, 0.0)]],
        plan(evaluation_period_agent_steps=10, checkpoint_period_agent_steps=10),
    )
    run.trainer.run()
    assert [s["evaluated_agent_steps"] for s in run.saved] == [10, 20]
    assert run.saved_steps == [10, 20]


def test_finished_run_stays_finished_until_it_is_asked_for_more_steps():
    first = Run([[Game(5, 0.0)]])
    assert first.trainer.run()
    assert first.trainer.is_finished
    assert first.telemetry.evaluations == [(20, 0.0)], "the last policy is always evaluated"
    again = Run([[Game(5, 0.0)]])
    again.trainer.load_state_dict(first.saved[-1])
    assert again.trainer.is_finished
    longer = Run([[Game(5, 0.0)]], plan(total_agent_steps=30))
    longer.trainer.load_state_dict(first.saved[-1])
    assert not longer.trainer.is_finished
    assert longer.trainer.run()
    assert longer.trainer.agent_steps == 30
    assert longer.telemetry.evaluations == [(30, 0.0)]


def test_training_ends_with_the_evaluation_that_reaches_the_wanted_mean():
    run = Run(
        [[Game(5, 0.0)]],
        plan(total_agent_steps=100, evaluation_period_agent_steps=10, stop_at_return_mean=475.0),
        returns=[474.9, 475.0],
    )
    assert run.trainer.run()
    assert run.trainer.agent_steps == 20
    assert run.trainer.is_solved
    assert run.saved[-1]["is_solved"]


def test_layers_are_measured_on_the_last_update_of_a_logged_turn():
    run = Run(
        [[Game(50, 0.0)]],
        plan(total_agent_steps=8, agent_steps_per_update=1, log_period_agent_steps=8),
    )
    run.trainer.run()
    # The stand-in's gradients add up: 1 in each of weight and bias at every update.
    ((step, grad_norm),) = run.telemetry.with_tag("train/grad_norm")
    assert step == 8
    assert grad_norm == pytest.approx(4 * 2**0.5)
    # It calls no optimizer step.
    assert run.telemetry.with_tag("update_ratio/weight") == [(8, 0.0)]


def test_resumed_run_goes_on_within_the_game_and_the_interval():
    """Stopped in mid-game between two log lines: the lines are those of one run."""
    games = [[Game(7, 1.0), Game(4, 2.0)], [Game(5, 3.0)]]
    settings = plan(total_agent_steps=60, log_period_agent_steps=16, agent_steps_per_update=3)
    straight = Run(games, settings)
    assert straight.trainer.run()
    stopped = Run(games, settings, stop_when=lambda run: run.trainer.agent_steps >= 27)
    assert not stopped.trainer.run()
    resumed = Run(games, settings)
    resumed.trainer.load_state_dict(stopped.saved[-1])
    assert resumed.trainer.run()
    assert "reset" not in resumed.tape

    def untimed(lines):
        # The stand-in's gradients add up over a process's life.
        omitted = ("speed/", "train/grad_norm")
        return [{k: v for k, v in line.items() if not k.startswith(omitted)} for line in lines]

    lines = untimed(stopped.telemetry.lines + resumed.telemetry.lines)
    assert lines == untimed(straight.telemetry.lines)
    columns = stopped.replay.columns + resumed.replay.columns
    for one, other in zip(columns, straight.replay.columns, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_games_that_cannot_be_restored_are_told_of_and_new_ones_begin():
    first = Run([[Game(5, 0.0)]], stop_when=lambda run: run.trainer.agent_steps == 7)
    first.trainer.run()
    resumed = Run([[Game(5, 0.0)]])

    def fail(state):
        raise ValueError("other observations")

    resumed.environment.load_state_dict = fail
    with pytest.raises(GamesError, match="other observations"):
        resumed.trainer.load_state_dict(first.saved[-1])
    assert resumed.trainer.agent_steps == 7
    assert resumed.trainer.run()
    assert resumed.tape[0] == "reset"


def test_best_evaluation_is_the_first_of_the_highest_mean_also_after_a_resume():
    settings = plan(total_agent_steps=50, evaluation_period_agent_steps=10)
    run = Run([[Game(5, 0.0)]], settings, returns=[1.0, 4.0, 4.0, 2.0, 5.0])
    run.trainer.run()
    assert run.best == [(1.0, 10), (4.0, 20), (5.0, 50)]
    resumed = Run([[Game(5, 0.0)]], plan(total_agent_steps=70), returns=[4.9])
    resumed.trainer.load_state_dict(run.saved[-1])
    resumed.trainer.run()
    assert resumed.best == []
    assert resumed.trainer.best[:2] == (5.0, 50)


def test_broken_weights_are_never_the_best():
    run = Run([[Game(5, 0.0)]], plan(evaluation_period_agent_steps=10), returns=[1.0, 4.0])
    evaluate = run.evaluate

    def break_network():
        if run.trainer.agent_steps == 20:
            next(run.agent.network.parameters()).data.fill_(float("nan"))
        return evaluate()

    run.evaluate = break_network
    run.trainer.run()
    assert run.telemetry.evaluations == [(10, 1.0), (20, 4.0)]
    assert run.best == [(1.0, 10)]


def test_an_evaluation_that_is_given_up_is_no_training_time(monkeypatch):
    run = Run([[Game(5, 0.0)]], plan(evaluation_period_agent_steps=10))
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def give_up():
        clock[0] += 60.0

    run.trainer._interval.go_on()
    run.evaluate = give_up
    run.trainer._run_evaluation()
    assert run.trainer._interval.state_dict()["elapsed_seconds"] == 0.0


def test_failed_checkpoint_is_tried_again_after_a_tenth_of_the_period():
    run = Run([[Game(5, 0.0)]], plan(total_agent_steps=200, checkpoint_period_agent_steps=50))
    tried = []

    def save(trainer):
        tried.append(trainer.agent_steps)
        return trainer.agent_steps >= 64

    run.save = save
    assert run.trainer.run()
    assert tried == [50, 55, 60, 65, 100, 150, 200]


def test_loss_that_is_not_finite_ends_a_run_at_the_next_log_line():
    run = Run([[Game(50, 0.0)]], plan(log_period_agent_steps=10))
    learn = run.agent.learn

    def diverge(batch):
        output = learn(batch)
        return output._replace(loss=output.loss * (np.nan if run.agent.num_updates > 1 else 1))

    run.agent.learn = diverge
    with pytest.raises(NonFiniteError, match="since the last log line"):
        run.trainer.run()
    assert run.trainer.agent_steps == 10
    assert run.saved == []
