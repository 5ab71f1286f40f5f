"""Runs that version 0.1.0 left behind in November 2026 (tests/data) go on."""

import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest
from helpers.tiny_runs import read_lines
from omegaconf import OmegaConf

from dqn import checkpoint
from dqn.comparison.read.our_runs import read_run
from dqn.config import ConfigError, load_config, load_train_config
from dqn.config.validation import validate
from dqn.run import lifecycle
from dqn.saved_config import flatten

SAVED = Path(__file__).parents[1] / "data" / "november_2026" / "cartpole_run.zip"
SAVED_AGENT_STEPS = 203


@pytest.fixture
def run_dir(tmp_path):
    with zipfile.ZipFile(SAVED) as archive:
        archive.extractall(tmp_path / "run")
    return tmp_path / "run"


def configured(run_dir, **changes):
    config = load_config(run_dir / "config.yaml") | {"run_dir": str(run_dir)} | changes
    return validate(OmegaConf.create(config))


def test_saved_run_goes_on_from_its_checkpoint(run_dir, capsys):
    before = read_lines(run_dir / "metrics.jsonl")
    lifecycle.train(configured(run_dir), label="old")
    assert "results may differ from now on: code 0.1.0 (ade623a3d0c4)" in capsys.readouterr().err
    newest = checkpoint.available(run_dir / "checkpoints")[-1]
    state = checkpoint.load(newest).state
    # One update an agent step after the warm-up of 100, as the old version counted them.
    assert state["trainer"]["agent_steps"] == 401
    assert state["agent"]["num_updates"] == 401 - 100
    kept = [line for line in before if line["step"] <= SAVED_AGENT_STEPS]
    assert read_lines(run_dir / "metrics.jsonl")[: len(kept)] == kept
    assert state["config"] == flatten(asdict(load_train_config(run_dir / "config.yaml")))


def test_saved_run_is_not_continued_as_another(run_dir):
    loss = {"kind": "q_learning", "error_bound": None}
    with pytest.raises(ConfigError, match=r"loss.error_bound=None: .* loss.error_bound=1.0;"):
        lifecycle.train(configured(run_dir, loss=loss), label="old")


def test_saved_run_is_compared_under_its_settings(run_dir):
    run = read_run(run_dir)
    assert (run.game, run.optimizer, run.settings["loss.error_bound"]) == (
        "cartpole",
        "RMSprop",
        1.0,
    )
