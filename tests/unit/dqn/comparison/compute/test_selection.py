"""Which runs are compared, and up to where."""

import dataclasses

import pytest
from helpers.written_runs import five, make_run

from dqn.comparison.compute.selection import select
from dqn.comparison.run import InputError


def test_equal_groups_of_five_give_no_warning():
    selection = select(five("adam") + five("sgd"))
    assert selection.groups == ("adam", "sgd")
    assert selection.games == ("pong",)
    assert selection.ends == {"pong": 300.0}
    assert selection.warnings == ()


def test_games_that_not_all_groups_played_are_left_out_and_named():
    selection = select([*five("adam"), *five("adam", "qbert"), *five("sgd")])
    assert selection.games == ("pong",)
    assert selection.warnings == ("1 games that some groups have not played are left out: qbert.",)
    with pytest.raises(InputError, match=r"RUNS: the groups share no game \(adam: qbert; sgd: po"):
        select([*five("adam", "qbert"), *five("sgd")])


def test_runs_are_compared_where_the_shortest_ends_unless_it_was_solved():
    short = make_run("sgd", seed=9, steps=(100, 200), scores=(0, 5))
    assert select([*five("adam"), short]).ends == {"pong": 200.0}
    solved = dataclasses.replace(short, is_solved=True)
    selection = select([*five("adam"), solved])
    assert selection.ends == {"pong": 300.0}
    assert any("1 runs stopped early at their target score" in w for w in selection.warnings)
    # Only solved runs: the longest of them.
    assert select([solved, dataclasses.replace(make_run(), is_solved=True)]).ends == {"pong": 300}


def test_step_of_comparison_can_be_earlier_but_not_later():
    assert select(five("adam"), at=150).ends == {"pong": 150}
    with pytest.raises(InputError, match=r"--at=400: must be at most 300 agent steps"):
        select(five("adam"), at=400)


def test_step_of_comparison_is_not_before_the_first_score_of_any_run():
    select(five("adam"), at=100)
    with pytest.raises(InputError, match=r"pong: nothing to compare at 90 agent steps: the first"):
        select(five("adam"), at=90)
    late = make_run("sgd", steps=(310, 320), scores=(1, 2))
    with pytest.raises(
        InputError, match=r"at 300 agent steps: the first score of sgd/pong/1 is at 310"
    ):
        select([*five("adam"), late])


def test_frames_scale_every_step_by_the_frame_skip_of_its_run():
    atari = make_run(frames_per_agent_step=4.0, planned_agent_steps=300)
    selection = select([atari], axis="frames")
    (run,) = selection.runs["adam", "pong"]
    assert run.scores.steps.tolist() == [400, 800, 1200]
    assert run.planned_agent_steps == 1200
    assert selection.ends == {"pong": 1200}


def test_unfinished_runs_can_be_left_out():
    cut = make_run("adam", seed=6, steps=(100,), scores=(0,), is_unfinished=True)
    cut = dataclasses.replace(cut, planned_agent_steps=300)
    selection = select([*five("adam"), cut], skip_unfinished=True)
    assert len(selection.all_runs) == 5
    assert selection.ends == {"pong": 300.0}
    assert "NaN" not in selection.warnings[0]
    with pytest.raises(InputError, match=r"RUNS: no run is left"):
        select([cut], skip_unfinished=True)
    diverged = dataclasses.replace(cut, has_diverged=True)
    (warning, *_) = select([*five("adam"), diverged], skip_unfinished=True).warnings
    assert "Of these, adam/pong/6 became infinite or NaN" in warning


def test_groups_by_any_key_of_the_configuration():
    runs = [make_run(seed=lr, settings={"optimizer.lr": lr}) for lr in (1, 2)]
    assert select(runs, group_by=("optimizer", "optimizer.lr")).groups == (
        "adam, optimizer.lr=1",
        "adam, optimizer.lr=2",
    )


def test_variants_are_groups_by_their_names():
    runs = [make_run(seed=1, settings={"choices.variant": name}) for name in ("dqn", "double")]
    assert select(runs, group_by=("variant",)).groups == ("double", "dqn")


def test_unknown_groups_and_games_are_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"--only=sdg: must be one of adam, sgd"):
        select(five("adam") + five("sgd"), only_groups=("sdg",))
    with pytest.raises(InputError, match=r"--games=breakout: must be one of pong"):
        select(five("adam"), only_games=("breakout",))
    assert select(five("adam") + five("sgd"), only_groups=("sgd",)).groups == ("sgd",)
