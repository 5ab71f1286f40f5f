"""The benchmark of training: what it times, and that its parts add up."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_nested_parts_are_counted_once(benchmarks, monkeypatch):
    ours = benchmarks("training_ours")
    clock = iter([0.0, 2.0, 5.0, 9.0])  # outer begins, inner begins, inner ends, outer ends
    monkeypatch.setattr(ours.time, "perf_counter", lambda: next(clock))
    watch = ours.Stopwatch()
    inner = watch.timed("inner", lambda x: x + 1)
    outer = watch.timed("outer", lambda x: 2 * inner(x))
    assert outer(3) == 8
    assert watch.seconds == {"outer": 6.0, "inner": 3.0}


def test_table_is_of_medians_and_of_the_run_nearest_to_them(benchmarks, capsys):
    training = benchmarks("training")

    def measured(seconds):
        return {
            "agent_steps": 100,
            "updates": 25,
            "seconds": seconds,
            "parts_seconds": {"act": 0.25 * seconds, "rest": 0.75 * seconds},
            "peak_memory_bytes": 2e9 * seconds,
        }

    rows = [
        training._summary("rmsprop-dqn bf16", [measured(s) for s in (1.0, 4.0, 2.0)]),
        training._summary("sb3", [measured(s) for s in (10.0, 20.0, 5.0)]),
    ]
    assert rows[0]["agent_steps_per_second"] == 50.0
    assert rows[0]["updates_per_second"] == 12.5
    assert rows[0]["peak_memory_gigabytes"] == 8.0
    assert rows[0]["milliseconds_per_agent_step"] == {"act": 5.0, "rest": 15.0}
    training._print_table(rows, SimpleNamespace(game="pong", busy=False, repeats=3))
    printed = capsys.readouterr().out
    assert "5.00x sb3" in printed  # 50 against 10
    assert "(100 25 50)" in printed


def test_batch_sizes_of_the_scaling_keep_the_replay_ratio(benchmarks):
    scaling = benchmarks("scaling")
    for batch_size in scaling.AXES["batch size"]:
        values = dict(o.split("=") for o in scaling._overrides("batch size", batch_size))
        assert int(values["agent.batch_size"]) == 8 * int(values["agent.agent_steps_per_update"])


@pytest.mark.slow
def test_training_benchmark_measures_a_run_and_its_parts_add_up(tmp_path):
    file = tmp_path / "training.json"
    command = [sys.executable, "-W", "ignore", str(SCRIPTS / "benchmark.py"), "training"]
    command += ["--repeats", "1", "--agent-steps", "200", "--settings", "fp32"]
    command += ["--json", str(file), "network=nips_cnn", "num_threads=1", "env.num_envs=2"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    assert "rmsprop-dqn fp32" in printed.stdout
    [row] = json.loads(file.read_text())["rows"]
    milliseconds = row["milliseconds_per_agent_step"]
    assert sum(milliseconds.values()) == pytest.approx(1e3 / row["agent_steps_per_second"])
    assert all(value >= 0 for value in milliseconds.values())
    assert row["updates_per_second"] / row["agent_steps_per_second"] == pytest.approx(
        0.25, rel=0.05
    )
