"""The progress line, with a clock that the test moves."""

import pytest

from dqn.training import progress
from dqn.training.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when the test says so."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_without_a_terminal_a_plain_line_now_and_then(clock, capsys):
    with Progress(
        total_agent_steps=10_000, agent_steps=1_000, label="pong", is_terminal=False
    ) as line:
        clock[0] += 10
        line.update(1_500, [])
        clock[0] += 20
        line.update(4_000, [10.0, 20.0])
        clock[0] += 1
        line.update(4_100, [10.0])
    # 3,000 steps in 30 s are 100 a second, for the 6,000 left a minute.
    assert capsys.readouterr().err.splitlines() == [
        "pong: 4,000 of 10,000 steps, return 15.0, 100 steps/s, 1 min left"
    ]


def test_no_step_yet_promises_no_time(clock, capsys):
    with Progress(total_agent_steps=10, agent_steps=0, label="pong", is_terminal=False) as line:
        clock[0] += 31
        line.update(0, [])
    assert capsys.readouterr().err == "pong: 0 of 10 steps\n"


def test_on_a_terminal_a_bar_that_begins_where_the_run_stood(capsys):
    with Progress(total_agent_steps=1_000, agent_steps=500, label="pong", is_terminal=True) as line:
        line.update(750, [1.0, 2.0])
        line.note("evaluation return 3.0")
    error = capsys.readouterr().err
    assert "pong:  50%" in error
    assert "500/1000" in error
    assert "pong:  75%" in error
    assert "return 1.5" in error
    assert "pong: evaluation return 3.0\n" in error


def test_standard_output_stays_clean(capsys):
    with Progress(total_agent_steps=10, agent_steps=0, label="pong", is_terminal=False) as line:
        line.note("finished")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "pong: finished\n"
