"""Runs and directories that are refused: one line, exit status 2, and nothing overwritten."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers.tiny_runs import CARTPOLE

from dqn import checkpoint, evaluate, train
from dqn.saved_config import flatten
from dqn.system.locking import RunLock

ROOT = Path(__file__).resolve().parents[2]
SHORT = (*CARTPOLE, "total_agent_steps=240")


def command(program, *arguments, monkeypatch):
    """The console script's function in this process; its exit status."""
    monkeypatch.setattr("sys.argv", [f"dqn-{program.__name__.rpartition('.')[2]}", *arguments])
    try:
        program.main()
    except SystemExit as status:
        return status.code or 0
    return 0


def contents(directory):
    """Every file's bytes, and every other entry's kind."""
    return {
        path: path.read_bytes() if path.is_file() and not path.is_symlink() else path.is_dir()
        for path in directory.rglob("*")
        if path.name != ".lock"
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, and one of another network; copied, never changed."""
    directory = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, sizes in (("run", "[16]"), ("other", "[8]")):
            arguments = (
                *SHORT,
                f"network.torso.hidden_sizes={sizes}",
                f"run_dir={directory / name}",
            )
            assert command(train, *arguments, monkeypatch=monkeypatch) == 0
    return directory


@pytest.fixture
def run_dir(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


def newest(run_dir):
    return checkpoint.available(run_dir / "checkpoints")[-1]


def damage_all_checkpoints(run_dir, trained):
    for path in checkpoint.available(run_dir / "checkpoints"):
        os.truncate(path / "agent.pt", 50)


def take_checkpoints_of_another_network(run_dir, trained):
    shutil.rmtree(run_dir / "checkpoints")
    shutil.copytree(trained / "other" / "checkpoints", run_dir / "checkpoints")


def forge_checkpoints_of_another_network(run_dir, trained):
    """The other network's weights under this run's configuration, checksums and all."""
    for path in checkpoint.available(run_dir / "checkpoints"):
        state = checkpoint.load(path).state
        other = checkpoint.load(checkpoint.available(trained / "other" / "checkpoints")[-1])
        shutil.rmtree(path)
        state["agent"] = other.state["agent"]
        checkpoint.save(run_dir / "checkpoints", other.agent_steps, state)


def make_a_checkpoint_of_an_earlier_format(run_dir, trained):
    shutil.rmtree(run_dir / "checkpoints")
    path = run_dir / "checkpoints" / "agent_step_000000000240"
    path.mkdir(parents=True)
    torch.save({"format": 1, "state": {}}, path / "state.pt")


def damage_the_configuration_without_checkpoints(run_dir, trained):
    shutil.rmtree(run_dir / "checkpoints")
    (run_dir / "config.yaml").write_text("a: [")


def make_checkpoints_a_file(run_dir, trained):
    shutil.rmtree(run_dir / "checkpoints")
    (run_dir / "checkpoints").write_text("")


def lead_the_metrics_elsewhere(run_dir, trained):
    (run_dir / "metrics.jsonl").unlink()
    (run_dir / "metrics.jsonl").symlink_to(run_dir.parent / "elsewhere")


def lead_the_provenance_elsewhere(run_dir, trained):
    (run_dir / "provenance.jsonl").unlink()
    (run_dir / "provenance.jsonl").symlink_to(run_dir.parent / "elsewhere")


SITUATIONS = {
    damage_all_checkpoints: ["none of its checkpoints can be read", "overwrite=true"],
    take_checkpoints_of_another_network: ["network.torso.hidden_sizes=[16]", "hidden_sizes=[8]"],
    forge_checkpoints_of_another_network: ["not one of this configuration", "overwrite=true"],
    make_a_checkpoint_of_an_earlier_format: ["checkpoint format 1", "reads format 2"],
    damage_the_configuration_without_checkpoints: ["config.yaml", "overwrite=true"],
    make_checkpoints_a_file: ["checkpoints must be a directory"],
    lead_the_metrics_elsewhere: ["run_dir=", "directory that can be written"],
    lead_the_provenance_elsewhere: ["run_dir=", "directory that can be written"],
}


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
def test_run_that_cannot_go_on_is_refused_and_spared(
    situation, run_dir, trained, monkeypatch, capsys
):
    situation(run_dir, trained)
    before = contents(run_dir.parent)
    capsys.readouterr()
    arguments = (*SHORT, "total_agent_steps=300", f"run_dir={run_dir}")
    assert command(train, *arguments, monkeypatch=monkeypatch) == 2
    lines = capsys.readouterr().err.splitlines()
    lines = [line for line in lines if not line.startswith("warning:")]
    (line,) = [line for line in lines if line.startswith("dqn-train: ")]
    for part in SITUATIONS[situation]:
        assert part in line
    after = contents(run_dir.parent)
    changed = {path.name for path in before | after if before.get(path) != after.get(path)}
    # A directory that was found sound until its games were to be loaded has been written to.
    assert {name for name in changed if not name.startswith("events.")} <= {"config.yaml"}


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("agent.discount=0.9", ["agent.discount=0.9", "agent.discount=0.99"]),
        ("seed=2", ["seed=2", "seed=1"]),
        ("optimizer=adam", ["optimizer.", "more)"]),
        ("network.torso.hidden_sizes=[16,16]", ["network.torso.hidden_sizes=[16, 16]", "[16]"]),
        ("env.num_envs=2", ["env.num_envs=2", "env.num_envs=4"]),
        ("replay.capacity=2000", ["replay.capacity=2000", "replay.capacity=1000"]),
        ("precision=bf16", ["precision=bf16", "precision=fp32"]),
    ],
)
def test_changed_configuration_is_refused_on_resuming(
    override, parts, run_dir, monkeypatch, capsys
):
    before = contents(run_dir)
    capsys.readouterr()
    arguments = (*SHORT, f"run_dir={run_dir}", override)
    assert command(train, *arguments, monkeypatch=monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in (*parts, "overwrite=true"):
        assert part in line
    assert contents(run_dir) == before


@pytest.mark.parametrize("overwrite", ["true", "false"])
def test_second_process_is_refused_while_the_first_is_at_work(
    overwrite, run_dir, monkeypatch, capsys
):
    before = contents(run_dir)
    lock = RunLock(run_dir)
    lock.acquire()
    arguments = (*SHORT, f"run_dir={run_dir}", f"overwrite={overwrite}")
    capsys.readouterr()
    assert command(train, *arguments, monkeypatch=monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "another process is at work there" in line
    assert contents(run_dir) == before
    lock.release()
    assert command(train, *SHORT, f"run_dir={run_dir}", monkeypatch=monkeypatch) == 0


def test_lock_ends_with_its_owner_however_that_ends(run_dir):
    """A process that holds the lock is killed: nothing has to be cleaned up."""
    code = (
        "import sys, time, pathlib; from dqn.system.locking import RunLock\n"
        "lock = RunLock(pathlib.Path(sys.argv[1])); lock.acquire(); print('held', flush=True)\n"
        "time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, run_dir],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    lock = RunLock(run_dir)
    with pytest.raises(RuntimeError, match="another process"):
        lock.acquire()
    process.kill()
    process.wait()
    process.stdout.close()
    lock.acquire()
    lock.release()


def test_damaged_configuration_of_a_sound_run_is_mended(run_dir, monkeypatch):
    """Its checkpoints know the configuration."""
    good = (run_dir / "config.yaml").read_text()
    (run_dir / "config.yaml").write_text(good.replace("discount: 0.99", "discount: 0.89"))
    assert command(train, *SHORT, f"run_dir={run_dir}", monkeypatch=monkeypatch) == 0
    mended = (run_dir / "config.yaml").read_text()
    assert flatten(yaml.safe_load(mended)) == flatten(yaml.safe_load(good)) | {
        "run_dir": str(run_dir)
    }


EVALUATIONS = {
    "run_dir=nowhere": ["run_dir=nowhere", "a directory that dqn-train has written"],
    "run_dir=run num_games=0": ["num_games=0", "at least 1"],
    "run_dir=run epsilon=2": ["epsilon=2", "from 0 to 1"],
    "run_dir=run max_num_envs=1e9": ["max_num_envs=1000000000", "from 1 to 4096"],
    "run_dir=run weights=worst": ["weights=worst", "newest, best"],
    "run_dir=run device=tpu": ["device=tpu", "auto, cpu, cuda"],
    "run_dir=run out_dir=/dev/null/x": ["out_dir=/dev/null/x", "can be written"],
    "run_dir=run num_gmaes=3": ["num_gmaes", "did you mean num_games?"],
    "run_dir=forged num_games=1": ["run_dir=forged", "not of the network"],
    "run_dir=smuggled num_games=1": ["optimizer._target_=os.system", "rmsprop.RMSprop"],
    "run_dir=asking num_games=1": ["config.yaml", "not an interpolation"],
    "run_dir=unread num_games=1": ["run_dir=unread", "none that can be read"],
    "run_dir=unread num_games=1 weights=best": ["weights=best", "damaged weights"],
    "": ["run_dir", "no value given"],
}


@pytest.mark.parametrize("arguments", EVALUATIONS)
def test_bad_evaluation_is_refused_in_one_line(arguments, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = dict(argument.split("=", 1) for argument in arguments.split()).get("run_dir", "run")
    if name != "nowhere":
        shutil.copytree(trained / "run", tmp_path / name)
    config = tmp_path / name / "config.yaml"
    if name == "forged":
        config.write_text(config.read_text().replace("- 16", "- 17"))
    elif name == "smuggled":
        config.write_text(config.read_text().replace("rmsprop.RMSprop", "os.system"))
    elif name == "asking":
        config.write_text(
            config.read_text().replace("precision: fp32", "precision: ${oc.env:HOME}")
        )
    elif name == "unread":
        damage_all_checkpoints(tmp_path / name, trained)
        os.truncate(tmp_path / name / "checkpoints" / "best.safetensors", 100)
    before = contents(tmp_path)
    capsys.readouterr()
    assert command(evaluate, *arguments.split(), monkeypatch=monkeypatch) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith("warning:")]
    (line,) = lines
    assert line.startswith("dqn-evaluate: ")
    for part in EVALUATIONS[arguments]:
        assert part in line, line
    assert captured.out == ""
    assert contents(tmp_path) == before


def test_best_weights_can_be_evaluated(run_dir, monkeypatch, capsys):
    arguments = (f"run_dir={run_dir}", "weights=best", "num_games=2", "video=false")
    assert command(evaluate, *arguments, monkeypatch=monkeypatch) == 0
    _, about = checkpoint.load_weights(run_dir / "checkpoints" / "best.safetensors")
    assert f"at step {about['agent_steps']:,}:" in capsys.readouterr().out


@pytest.mark.parametrize("overwrite", ["true", "false"])
def test_full_disk_at_the_start_is_one_line_and_status_2(tmp_path, overwrite):
    """A real process that may not write one byte into a file."""
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "dqn.train", *SHORT),
            *(f"run_dir={tmp_path / 'run'}", f"overwrite={overwrite}"),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        check=False,
    )
    assert finished.returncode == 2, finished.stderr
    (line,) = finished.stderr.splitlines()
    assert "must be a directory that can be written (File too large)" in line
