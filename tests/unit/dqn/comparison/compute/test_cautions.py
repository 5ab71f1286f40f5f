"""What the reader of a comparison is warned of."""

import dataclasses

import pytest
from helpers.written_runs import five, make_run

from dqn.comparison.compute.cautions import differing_settings
from dqn.comparison.compute.selection import select


@pytest.mark.parametrize(
    ("runs", "warning"),
    [
        (five("adam")[:3], "Too few seeds: adam has as few as 3 runs on a game"),
        ([*five("adam"), *five("sgd"), *five("sgd", "pong")], "several runs of the same game and"),
        ([*five("adam"), make_run("adam", seed=6), *five("sgd")], "between 5 and 6 runs a game"),
        (
            [*five("adam", protocol="nature"), *five("sgd", protocol="machado")],
            "Protocols differ, so scores are not strictly comparable: adam: nature; sgd: machado",
        ),
        (
            [*five("adam"), *five("sgd", score_kind="training")],
            "Kinds of return differ, so scores are not strictly comparable: adam: evaluation; sgd: "
            "training",
        ),
        (
            [*five("adam")[:4], make_run(seed=5, is_unfinished=True, planned_agent_steps=1000)],
            "1 run is unfinished, all are compared where the shortest of them ends: "
            "adam/pong/5 (300 of 1,000)",
        ),
        (
            [
                *five("adam", settings={"optimizer.lr": 1})[:4],
                make_run(settings={"optimizer.lr": 2}),
            ],
            "adam mixes runs of different settings: optimizer.lr (1, 2). --group-by "
            "optimizer,optimizer.lr keeps them apart",
        ),
    ],
)
def test_reader_is_warned(runs, warning):
    assert any(warning in message for message in select(runs).warnings)


def test_seed_and_place_are_no_different_settings():
    one = make_run(settings={"seed": 1, "run_dir": "a", "env.game": "pong", "agent.discount": 0.9})
    other = make_run(settings={"seed": 2, "run_dir": "b", "env.game": "qbert", "agent.discount": 1})
    assert differing_settings([one, other]) == {"agent.discount": [0.9, 1]}


def test_runs_of_more_than_one_version_of_the_code_are_told_of():
    old, new = ("0.1.0 (aaaa)",), ("0.1.0 (bbbb)",)
    runs = [*five("adam", codes=old), *five("sgd", codes=old)]
    assert select(runs).warnings == ()
    # One that went on under another version, and those whose code is unknown say nothing of it.
    runs[0] = dataclasses.replace(runs[0], codes=old + new)
    runs[1] = dataclasses.replace(runs[1], codes=())
    assert select(runs).warnings == (
        "2 versions of the code computed these runs (0.1.0 (aaaa), 0.1.0 (bbbb)); the column code "
        "of runs.csv says which.",
    )
