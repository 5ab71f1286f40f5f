"""A training process that is asked to stop, and the same run going on afterwards."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.tiny_runs import CARTPOLE, read_lines, tiny_config

from dqn import checkpoint
from dqn.config import save_config
from dqn.run import lifecycle

ROOT = Path(__file__).resolve().parents[2]


def wait_for(condition, process, seconds=200.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the training ended by itself"
        assert time.monotonic() < deadline, "the training did not begin to log"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_process_saves_and_the_run_goes_on(tmp_path, number, capsys):
    run_dir = tmp_path / "run"
    metrics = run_dir / "metrics.jsonl"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "dqn.train", *CARTPOLE),
            *(f"run_dir={run_dir}", "total_agent_steps=100_000_000"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: metrics.exists() and "train/loss" in metrics.read_text(), process)
        process.send_signal(number)
        started = time.monotonic()
        # The wait only keeps a hang from lasting: a busy machine is no failure.
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
    with capsys.disabled():
        print(f" [stopped {time.monotonic() - started:.1f} s after {number.name}]", end="")
    assert process.returncode == 128 + number
    assert error.rstrip().endswith("the same command goes on")
    assert "Traceback" not in error

    newest = checkpoint.available(run_dir / "checkpoints")[-1]
    stopped_at = checkpoint.load(newest).agent_steps
    before = read_lines(metrics)
    assert before[-1]["step"] <= stopped_at
    lifecycle.train(tiny_config(run_dir, f"total_agent_steps={stopped_at + 300}"), label="cartpole")
    after = read_lines(metrics)
    assert after[: len(before)] == before
    assert after[-1]["step"] >= stopped_at + 300
    steps = [line["step"] for line in after]
    assert steps == sorted(steps)
    logged = [line["step"] for line in after if "train/epsilon" in line]
    multiples = [step // 50 for step in logged]
    assert multiples == list(range(1, multiples[-1] + 1)), "a log line is missing or doubled"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux what is blocked")
def test_a_run_of_a_sweep_that_is_told_to_stop_while_it_loads_stops_as_it_begins(tmp_path):
    config = tiny_config(tmp_path / "run", "total_agent_steps=100_000_000")
    save_config(config, tmp_path / "config.yaml")
    process = subprocess.Popen(
        [sys.executable, "-m", "dqn.sweep.child", str(tmp_path / "config.yaml"), "label"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: holds_back(process.pid, signal.SIGTERM), process)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert error.rstrip().endswith("the same command goes on")
    newest = checkpoint.available(tmp_path / "run" / "checkpoints")[-1]
    assert checkpoint.load(newest).agent_steps == 0


def holds_back(pid, number):
    """Whether the kernel says that the process has blocked a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
    return bool(int(blocked, 16) >> (number - 1) & 1)
