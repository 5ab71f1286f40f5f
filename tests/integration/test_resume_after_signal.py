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
