"""``dqn-train`` from the command line to the files of its run."""

import os
import subprocess
import sys
from pathlib import Path

import yaml
from helpers.tiny_runs import CARTPOLE, PONG, read_lines, repeatable
from PIL import Image

from dqn import train

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments, monkeypatch):
    """The console script's function in this process; its exit status."""
    monkeypatch.setattr("sys.argv", ["dqn-train", *arguments])
    try:
        train.main()
    except SystemExit as status:
        return status.code or 0
    return 0


def contents(run_dir):
    """What a run holds, event files aside: opening it again opens another of those."""
    return {
        path: path.read_bytes()
        for path in run_dir.rglob("*")
        if path.is_file() and not path.name.startswith("events.")
    }


def test_from_another_folder_a_run_is_made_finished_and_found_finished(
    tmp_path, monkeypatch, capsys
):
    finished = subprocess.run(
        [sys.executable, "-m", "dqn.train", *CARTPOLE],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert finished.returncode == 0, finished.stderr
    assert "finished 40" in finished.stderr
    assert finished.stdout == ""
    assert os.listdir(tmp_path) == ["runs"]
    run_dir = tmp_path / "runs/cartpole/cartpole/rmsprop_deepmind/seed=1"
    assert {path.name.partition(".out.")[0] for path in run_dir.iterdir()} == {
        ".lock",
        "checkpoints",
        "config.yaml",
        "evaluations.jsonl",
        "events",
        "metrics.jsonl",
        "provenance.jsonl",
    }
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["total_agent_steps"] == 400
    assert config["optimizer"]["_target_"] == "rmsprop.RMSprop"
    before = contents(run_dir)

    monkeypatch.chdir(tmp_path)
    assert command(*CARTPOLE, monkeypatch=monkeypatch) == 0
    assert "already finished at 40" in capsys.readouterr().err
    changed = command(*CARTPOLE, "agent.discount=0.9", monkeypatch=monkeypatch)
    assert changed == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dqn-train: agent.discount=0.9: ")
    assert "overwrite=true" in line
    assert contents(run_dir) == before


def test_pong_is_trained_evaluated_and_filmed_and_repeats_from_its_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, video in (("a", "true"), ("b", "false")):
        arguments = (*PONG, f"evaluation.video={video}", f"run_dir={name}")
        assert command(*arguments, monkeypatch=monkeypatch) == 0
    (path,) = Path("a/videos").iterdir()
    assert path.suffix == ".webp"
    with Image.open(path) as film:
        assert film.n_frames > 100
    a, b = (repeatable(read_lines(Path(name) / "metrics.jsonl")) for name in "ab")
    assert a == b
    assert {line["frames"] for line in a} == {4 * line["step"] for line in a}
    (evaluation,) = read_lines(Path("a/evaluations.jsonl"))
    # An untrained agent loses, and a game of Pong ends at 21 points.
    assert -21 <= evaluation["return_mean"] <= 21
    assert evaluation["lengths"][0] > 100
    assert any("effective_lr/" in tag for line in a for tag in line)
