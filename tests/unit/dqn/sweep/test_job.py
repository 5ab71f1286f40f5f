"""One job of a sweep: skipped, finished, failed, killed or stopped; training has a stand-in."""

import json
import os
import signal
import sys
import threading
import time

import pytest
from helpers.tiny_runs import tiny_config

from dqn.config import ConfigError, save_config
from dqn.sweep import training_process
from dqn.sweep.job import run_job
from dqn.sweep.records import read_records, write_json
from dqn.sweep.training_process import RunFailed

FINISHES = """
import json, pathlib, re, shutil, sys
run_dir = pathlib.Path(re.search(r"^run_dir: (.*)$", open(sys.argv[1]).read(), re.M).group(1))
run_dir.mkdir(parents=True, exist_ok=True)
shutil.copy(sys.argv[1], run_dir / "config.yaml")
(run_dir / "evaluations.jsonl").write_text(json.dumps({"step": 400, "return_mean": 12.5}) + "\\n")
"""


@pytest.fixture
def sweep_dir(tmp_path):
    write_json(tmp_path / "sweep" / ".sweep" / "plan.json", {"num_jobs": 3, "pid": 0})
    return tmp_path / "sweep"


def stand_in(monkeypatch, code):
    """Instead of training, run ``code`` with the configuration's path as its argument."""
    monkeypatch.setattr(
        training_process,
        "_command",
        lambda path, label: [sys.executable, "-c", code, str(path), label],
    )


def run(config, sweep_dir, number=0):
    return run_job(
        lambda: config, lambda _: "label", number=number, name=f"seed={number}", sweep_dir=sweep_dir
    )


def test_a_finished_run_is_recorded_and_skipped_the_next_time(tmp_path, sweep_dir, monkeypatch):
    config = tiny_config(tmp_path / "run")
    stand_in(monkeypatch, FINISHES)
    assert run(config, sweep_dir) == 12.5
    [record] = read_records(sweep_dir)
    assert (record.state, record.was_skipped, record.return_mean) == ("finished", False, 12.5)
    stand_in(monkeypatch, "raise SystemExit('trained again')")
    assert run(config, sweep_dir) == 12.5
    [record] = read_records(sweep_dir)
    assert (record.state, record.was_skipped, record.return_mean) == ("finished", True, 12.5)


def test_a_package_that_greets_on_standard_output_spoils_no_result(
    tmp_path, sweep_dir, monkeypatch
):
    stand_in(monkeypatch, "print('Hello from the community', 3)" + FINISHES)
    assert run(tiny_config(tmp_path / "run"), sweep_dir) == 12.5


@pytest.mark.parametrize(
    "change",
    ["config", "longer", "config file", "evaluations", "overwrite", "broken result"],
)
def test_a_result_is_not_believed_when_anything_has_changed(
    change, tmp_path, sweep_dir, monkeypatch
):
    run_dir = tmp_path / "run"
    config = tiny_config(run_dir)
    stand_in(monkeypatch, FINISHES)
    run(config, sweep_dir)
    if change == "config":
        config = tiny_config(run_dir, "agent.discount=0.5")
    elif change == "longer":
        config = tiny_config(run_dir, "total_agent_steps=800")
    elif change == "config file":
        save_config(tiny_config(run_dir, "seed=7"), run_dir / "config.yaml")
    elif change == "evaluations":
        with (run_dir / "evaluations.jsonl").open("a") as file:
            file.write(json.dumps({"step": 500, "return_mean": 1.0}) + "\n")
    elif change == "overwrite":
        config = tiny_config(run_dir, "overwrite=true")
    else:
        (run_dir / "result.json").write_text('{"step"')
    stand_in(monkeypatch, FINISHES.replace("12.5", "99.0"))
    assert run(config, sweep_dir) == 99.0


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("import sys; print('bad', file=sys.stderr); sys.exit(2)", ConfigError, "bad"),
        ("raise ValueError('lost\\nit')", RunFailed, "seed=0: it; see .*0000.log"),
        ("import os; os.kill(os.getpid(), 9)", RunFailed, "killed by SIGKILL .out of memory"),
        ("import os; os.abort()", RunFailed, "killed by SIGABRT; the same command"),
        ("import sys; sys.exit(143)", RunFailed, "seed=0: stopped"),
    ],
)  # fmt: skip
def test_a_run_that_does_not_finish_is_one_line(
    code, error, message, tmp_path, sweep_dir, monkeypatch
):
    stand_in(monkeypatch, code)
    with pytest.raises(error, match=message) as caught:
        run(tiny_config(tmp_path / "run"), sweep_dir)
    assert "\n" not in str(caught.value)
    [record] = read_records(sweep_dir)
    assert record.state == ("stopped" if "143" in code else "failed")
    assert record.error in str(caught.value)
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_refused_configuration_is_recorded_without_a_directory(sweep_dir):
    def validate():
        raise ConfigError("agent.discount=2: must be a number from 0 to 1")

    with pytest.raises(ConfigError, match="discount=2"):
        run_job(validate, lambda _: "", number=4, name="agent.discount=2", sweep_dir=sweep_dir)
    [record] = read_records(sweep_dir)
    assert (record.number, record.state, record.run_dir) == (4, "failed", None)


@pytest.mark.parametrize("how", ["signal", "stop file"])
def test_a_stopped_sweep_tells_its_run_once_and_starts_no_other(
    how, tmp_path, sweep_dir, monkeypatch
):
    started, told = tmp_path / "started", tmp_path / "told"
    stand_in(
        monkeypatch,
        "import pathlib, signal, sys, time\n"
        f"def stop(*_): open({str(told)!r}, 'a').write('x'); time.sleep(0.6); sys.exit(143)\n"
        f"signal.signal(signal.SIGTERM, stop); pathlib.Path({str(started)!r}).touch()\n"
        "time.sleep(60)",
    )
    met = []
    monkeypatch.setattr(training_process, "POLL_SECONDS", 0.02)
    previous = signal.signal(signal.SIGUSR2, lambda number, frame: met.append(number))

    def stop_it():
        while not started.exists():
            time.sleep(0.02)
        if how == "signal":
            os.kill(os.getpid(), signal.SIGUSR2)
        else:
            (sweep_dir / ".sweep" / "stop").touch()

    threading.Thread(target=stop_it).start()
    try:
        with pytest.raises(RunFailed, match="stopped"):
            run(tiny_config(tmp_path / "run"), sweep_dir)
    finally:
        signal.signal(signal.SIGUSR2, previous)
    assert told.read_text() == "x"
    # Who was there before (submitit, which requeues) hears of the signal when all is saved.
    assert met == ([signal.SIGUSR2] if how == "signal" else [])
    if how == "stop file":
        with pytest.raises(RunFailed, match="not started"):
            run(tiny_config(tmp_path / "other"), sweep_dir, number=1)
    assert {record.state for record in read_records(sweep_dir)} == {"stopped"}
