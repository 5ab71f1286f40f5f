"""How far a sweep is, read from records: counts, time left, the status command."""

import os
import socket

import pytest

from dqn.sweep.records import JobRecord, write_json
from dqn.sweep.status import estimate_seconds_left, main, read_status


def record_of(number, state, **more):
    return JobRecord(number=number, name=f"seed={number}", state=state, **more)


def test_time_left_is_counted_from_finished_runs_and_running_shares(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 10}\n{"step": 250}\n')
    here = {"run_dir": str(tmp_path / "run"), "total_agent_steps": 1_000, "pid": os.getpid()}
    records = [
        record_of(0, "finished", seconds=80.0),
        record_of(1, "finished", seconds=0.1, was_skipped=True),
        record_of(2, "finished", seconds=120.0),
        record_of(3, "running", **here),
        record_of(4, "running", **here),
    ]
    # 5 wait and twice three quarters run, 100 s each, two at a time.
    assert estimate_seconds_left(records, 10, now=0.0) == pytest.approx(100 * 6.5 / 2)
    assert estimate_seconds_left(records, None, now=0.0) is None
    # Without a finished one: a quarter took 50 s.
    running = [record_of(0, "running", started_at=50.0, **here)]
    assert estimate_seconds_left(running, 1, now=100.0) == pytest.approx(150.0)


def test_status_command_names_what_runs_what_failed_and_what_died(tmp_path, monkeypatch, capsys):
    sweep_dir = tmp_path / "sweep"
    directory = sweep_dir / ".sweep"
    write_json(directory / "plan.json", {"num_jobs": 3, "pid": 0})
    process = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(process, 0)
    for record in (
        record_of(0, "failed", error="optimizer.lr=-1: must be at least 0"),
        record_of(1, "running", host=socket.gethostname(), pid=process),
        record_of(2, "running", host="another", pid=process),
    ):
        write_json(directory / f"{record.number:04d}.json", record.__dict__)
    assert read_status(sweep_dir).num_jobs == 3
    monkeypatch.setattr("sys.argv", ["dqn-sweep-status", str(sweep_dir)])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0 of 3 done, 1 running, 1 failed, 1 dead"
    assert "  running   0 %  seed=2" in lines
    assert "  failed  seed=0: optimizer.lr=-1: must be at least 0" in lines
    assert "  failed  seed=1: its worker is gone; the same command goes on" in lines


def test_status_of_no_sweep_is_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["dqn-sweep-status", str(tmp_path)])
    with pytest.raises(SystemExit) as status:
        main()
    assert status.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
