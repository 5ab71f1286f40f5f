"""Several runs from one command."""

from pathlib import Path

import pytest
import yaml
from helpers.tiny_runs import CARTPOLE, read_lines

from dqn import train


def test_sweep_gives_every_run_a_folder_named_by_its_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = ("optimizer=rmsprop_deepmind,adam", "seed=1,2")
    monkeypatch.setattr("sys.argv", ["dqn-train", "-m", *CARTPOLE, *sweep, "total_agent_steps=120"])
    train.main()
    runs = {
        f"runs/cartpole/cartpole/{optimizer}/seed={seed}": (optimizer, seed)
        for optimizer in ("rmsprop_deepmind", "adam")
        for seed in (1, 2)
    }
    found = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("config.yaml")}
    assert found == runs.keys()
    for run_dir, (optimizer, seed) in runs.items():
        config = yaml.safe_load((Path(run_dir) / "config.yaml").read_text())
        assert config["seed"] == seed
        assert config["optimizer"]["_target_"].endswith("Adam") == (optimizer == "adam")
        (evaluation,) = read_lines(Path(run_dir) / "evaluations.jsonl")
        assert evaluation["step"] >= 120


def test_bad_run_of_a_sweep_is_named_and_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sweep = ("agent.discount=2,0.9", "run_dir=discount/${agent.discount}")
    monkeypatch.setattr("sys.argv", ["dqn-train", "-m", *CARTPOLE, *sweep, "total_agent_steps=120"])
    with pytest.raises(SystemExit) as status:
        train.main()
    assert status.value.code == 2
    assert "dqn-train: agent.discount=2: must be a number from 0 to 1" in capsys.readouterr().err
    assert [path.name for path in Path("discount").iterdir()] == ["0.9"]
    assert (Path("discount") / "0.9" / "evaluations.jsonl").exists()
