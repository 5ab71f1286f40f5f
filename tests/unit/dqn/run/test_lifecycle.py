"""A run's directory: started, continued, finished, refused, and what failures leave in it."""

import itertools
import os
import shutil
import signal
import weakref

import pytest
from helpers.tiny_runs import read_lines, repeatable, tiny_config

from dqn import checkpoint
from dqn.config import ConfigError
from dqn.run import lifecycle

LABEL = "cartpole"


def crossed(steps, period):
    """Which multiples of ``period`` were crossed: four copies decide at once and overshoot."""
    return [step // period * period for step in steps]


def evaluated_steps(run_dir):
    return [line["step"] for line in read_lines(run_dir / "evaluations.jsonl")]


def steps_and_tags(run_dir):
    """Every (step, tag) that a run logged, in order."""
    return [
        (line["step"], tag)
        for line in read_lines(run_dir / "metrics.jsonl")
        for tag in line
        if tag not in ("step", "frames", "updates")
    ]


@pytest.fixture
def interrupt_after(monkeypatch):
    """Send SIGTERM to this process as a run's n-th metrics are written."""

    def arm(num_writes):
        write = lifecycle.Telemetry.write
        count = itertools.count(1)

        def counted(telemetry, *arguments):
            write(telemetry, *arguments)
            if next(count) == num_writes:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(lifecycle.Telemetry, "write", counted)

    return arm


def test_finished_run_leaves_its_files_and_returns_its_last_mean(tmp_path):
    run_dir = tmp_path / "run"
    return_mean = lifecycle.train(tiny_config(run_dir), label=LABEL)
    assert {path.name.split(".")[0] for path in run_dir.iterdir()} == {
        "",  # the lock
        "checkpoints",
        "config",
        "evaluations",
        "events",
        "metrics",
        "provenance",
    }
    evaluations = read_lines(run_dir / "evaluations.jsonl")
    assert crossed(evaluated_steps(run_dir), 200) == [200, 400]
    assert evaluations[-1]["return_mean"] == return_mean
    assert len(evaluations[-1]["returns"]) == 4
    assert len(checkpoint.available(run_dir / "checkpoints")) == 2


def test_metrics_are_where_the_contract_says(tmp_path):
    lifecycle.train(tiny_config(tmp_path), label=LABEL)
    lines = read_lines(tmp_path / "metrics.jsonl")
    for line in lines:
        assert line["frames"] == line["step"], "CartPole skips no frames"
        if "train/epsilon" in line or "eval/return_mean" in line:
            assert line["updates"] == max(0, line["step"] - 64) // 4
    tags = {tag for _, tag in steps_and_tags(tmp_path)}
    parameters = [
        "torso.layers.linear1.weight",
        "torso.layers.linear1.bias",
        "head.linear.weight",
        "head.linear.bias",
    ]
    assert tags == {
        *("episode/return", "episode/length"),
        *("eval/return_mean", "eval/return_std", "eval/length_mean"),
        *("train/loss", "train/q_mean", "train/epsilon", "train/grad_norm"),
        "train/learning_rate",
        *("speed/agent_steps_per_second", "speed/updates_per_second"),
        *("speed/evaluation_seconds", "speed/diagnostics_seconds"),
        "speed/peak_memory_gigabytes",
        *(f"effective_lr/{name}/{q}" for name in parameters for q in ("p05", "p50", "p95")),
        *(f"effective_lr_eps_bound/{name}" for name in parameters),
        *(f"update_ratio/{name}" for name in parameters),
    }


def test_same_seed_repeats_every_number_and_another_seed_none(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        lifecycle.train(tiny_config(tmp_path / name, f"seed={seed}"), label=LABEL)
    a, b, c = (repeatable(read_lines(tmp_path / name / "metrics.jsonl")) for name in "abc")
    assert a == b
    assert len(a) > 30
    losses = [{line["train/loss"] for line in lines if "train/loss" in line} for lines in (a, c)]
    assert not losses[0] & losses[1]


def test_finished_run_is_not_trained_again(tmp_path, capsys):
    config = tiny_config(tmp_path)
    first = lifecycle.train(config, label=LABEL)
    metrics = (tmp_path / "metrics.jsonl").read_text()
    capsys.readouterr()
    assert lifecycle.train(config, label=LABEL) == first
    assert "already finished at 400 steps" in capsys.readouterr().err
    assert (tmp_path / "metrics.jsonl").read_text() == metrics


def test_more_steps_continue_a_finished_run(tmp_path):
    lifecycle.train(tiny_config(tmp_path), label=LABEL)
    before = repeatable(read_lines(tmp_path / "metrics.jsonl"))
    lifecycle.train(tiny_config(tmp_path, "total_agent_steps=500"), label=LABEL)
    after = repeatable(read_lines(tmp_path / "metrics.jsonl"))
    assert after[: len(before)] == before
    assert 500 <= after[-1]["step"] < 504


@pytest.mark.parametrize("num_writes", [1, 7, 20])
def test_stopped_run_goes_on_without_gap_or_duplicate(
    tmp_path, interrupt_after, monkeypatch, capsys, num_writes
):
    config = tiny_config(tmp_path)
    with monkeypatch.context():
        interrupt_after(num_writes)
        with pytest.raises(SystemExit) as stop:
            lifecycle.train(config, label=LABEL)
    monkeypatch.undo()
    assert stop.value.code == 143
    assert "the same command goes on" in capsys.readouterr().err
    (newest,) = checkpoint.available(tmp_path / "checkpoints")[-1:]
    stopped_at = checkpoint.load(newest).agent_steps
    before = repeatable(read_lines(tmp_path / "metrics.jsonl"))
    assert max(line["step"] for line in before) <= stopped_at < 400
    lifecycle.train(config, label=LABEL)
    after = repeatable(read_lines(tmp_path / "metrics.jsonl"))
    assert after[: len(before)] == before, "what was logged stays"
    steps = [line["step"] for line in after]
    assert steps == sorted(steps)
    periodic = [step for step, tag in steps_and_tags(tmp_path) if tag == "train/epsilon"]
    assert crossed(periodic, 50) == list(range(50, 401, 50))
    assert crossed(evaluated_steps(tmp_path), 200) == [200, 400]


def test_killed_run_repeats_nothing_that_its_checkpoint_knows(tmp_path, monkeypatch):
    """Killed without warning just after the evaluation and checkpoint of one step."""

    class Killed(BaseException):
        pass

    save = checkpoint.save

    def save_then_die(directory, agent_steps, *rest):
        save(directory, agent_steps, *rest)
        if agent_steps >= 200:
            raise Killed

    config = tiny_config(tmp_path)
    monkeypatch.setattr(checkpoint, "save", save_then_die)
    with pytest.raises(Killed):
        lifecycle.train(config, label=LABEL)
    monkeypatch.setattr(checkpoint, "save", save)
    lifecycle.train(config, label=LABEL)
    assert crossed(evaluated_steps(tmp_path), 200) == [200, 400]
    logged = [entry for entry in steps_and_tags(tmp_path) if not entry[1].startswith("episode/")]
    assert len(logged) == len(set(logged))


def test_run_killed_before_its_first_checkpoint_begins_again_alone(tmp_path, interrupt_after):
    config = tiny_config(tmp_path / "killed")
    interrupt_after(5)
    with pytest.raises(SystemExit):
        lifecycle.train(config, label=LABEL)
    shutil.rmtree(tmp_path / "killed" / "checkpoints")
    lifecycle.train(config, label=LABEL)
    lifecycle.train(tiny_config(tmp_path / "straight"), label=LABEL)
    killed, straight = (
        repeatable(read_lines(tmp_path / name / "metrics.jsonl")) for name in ("killed", "straight")
    )
    assert killed == straight
    assert len(list((tmp_path / "killed").glob("events.out.tfevents.*"))) == 1


def damage(path):
    with (path / "agent.pt").open("r+b") as file:
        file.truncate(100)


def test_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, capsys):
    config = tiny_config(tmp_path)
    lifecycle.train(config, label=LABEL)
    _, newest = checkpoint.available(tmp_path / "checkpoints")
    damage(newest)
    capsys.readouterr()
    lifecycle.train(config, label=LABEL)
    assert f"warning: {newest}: damaged checkpoint" in capsys.readouterr().err
    periodic = [step for step, tag in steps_and_tags(tmp_path) if tag == "train/epsilon"]
    assert crossed(periodic, 50) == list(range(50, 401, 50))


def test_without_a_readable_checkpoint_nothing_is_begun(tmp_path):
    config = tiny_config(tmp_path)
    lifecycle.train(config, label=LABEL)
    for path in checkpoint.available(tmp_path / "checkpoints"):
        damage(path)
    metrics = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(ConfigError, match="none of its checkpoints can be read") as error:
        lifecycle.train(config, label=LABEL)
    assert "overwrite=true" in str(error.value)
    assert (tmp_path / "metrics.jsonl").read_text() == metrics


def test_failing_checkpoints_do_not_stop_training(tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", fail)
    lifecycle.train(tiny_config(tmp_path), label=LABEL)
    error = capsys.readouterr().err
    assert "training goes on and will try again: [Errno 28]" in error
    assert crossed(evaluated_steps(tmp_path), 200) == [200, 400]


def test_stop_that_could_not_save_says_so(tmp_path, interrupt_after, monkeypatch, capsys):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", fail)
    interrupt_after(7)
    with pytest.raises(SystemExit) as stop:
        lifecycle.train(tiny_config(tmp_path), label=LABEL)
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "which are not saved" in error
    assert "the same command goes on" not in error


def test_solved_run_does_not_promise_that_more_steps_would_go_on(tmp_path, capsys):
    config = tiny_config(tmp_path, "evaluation.stop_at_return_mean=0")
    lifecycle.train(config, label=LABEL)
    capsys.readouterr()
    lifecycle.train(config, label=LABEL)
    error = capsys.readouterr().err
    assert "already finished" in error
    assert "total_agent_steps" not in error


def test_resumed_run_keeps_nothing_of_what_was_loaded(tmp_path, monkeypatch):
    lifecycle.train(tiny_config(tmp_path), label=LABEL)
    load, run = checkpoint.load, lifecycle.Trainer.run
    loaded, alive_while_training = [], []

    def load_observed(path, keys=None):
        saved = load(path, keys)
        loaded.append(weakref.ref(saved.state["replay"]["rewards"]))
        return saved

    def run_observed(trainer):
        alive_while_training.append(loaded[0]() is not None)
        return run(trainer)

    monkeypatch.setattr(checkpoint.store, "load", load_observed)
    monkeypatch.setattr(lifecycle.Trainer, "run", run_observed)
    lifecycle.train(tiny_config(tmp_path, "total_agent_steps=500"), label=LABEL)
    assert alive_while_training == [False]


def test_path_that_the_system_refuses_is_bad_input(tmp_path):
    for overwrite in ("true", "false"):
        with pytest.raises(ConfigError, match=r"run_dir=.*: must be a directory"):
            lifecycle.train(
                tiny_config(tmp_path / ("x" * 300), f"overwrite={overwrite}"), label=LABEL
            )


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("agent.discount=0.9", "agent.discount=0.9: .* a run with agent.discount=0.99;"),
        ("optimizer=adam", r"optimizer.*=.*: .* holds a run with .* \(and \d+ more\);"),
        ("seed=2", "seed=2: .* holds a run with seed=1;"),
        (
            "network.torso.hidden_sizes=[8]",
            r"network.torso.hidden_sizes=\[8\]: .* a run with .*=\[16\];",
        ),
    ],
)
def test_changed_configuration_is_refused_and_touches_nothing(tmp_path, override, message):
    lifecycle.train(tiny_config(tmp_path), label=LABEL)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=message) as error:
        lifecycle.train(tiny_config(tmp_path, override), label=LABEL)
    assert "\n" not in str(error.value)
    assert "overwrite=true" in str(error.value)
    assert contents(tmp_path) == before


def test_overwrite_starts_anew_and_spares_what_no_run_wrote(tmp_path):
    lifecycle.train(tiny_config(tmp_path), label=LABEL)
    note = tmp_path / "note.txt"
    note.write_text("mine")
    lifecycle.train(tiny_config(tmp_path, "seed=2", "overwrite=true"), label=LABEL)
    assert crossed(evaluated_steps(tmp_path), 200) == [200, 400]
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert note.read_text() == "mine"


@pytest.mark.parametrize(
    "override", ["env.id=Cart_Pole-v1", "replay.capacity=1e14", "+optimizer.dampening=0.5"]
)
def test_refused_overwrite_spares_the_run(tmp_path, override):
    lifecycle.train(tiny_config(tmp_path), label=LABEL)
    before = contents(tmp_path)
    with pytest.raises(ConfigError):
        lifecycle.train(tiny_config(tmp_path, override, "overwrite=true"), label=LABEL)
    assert contents(tmp_path) == before


def test_run_directory_that_cannot_be_made_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="must be a directory that can be written") as error:
        lifecycle.train(tiny_config(tmp_path / "file" / "run"), label=LABEL)
    assert "\n" not in str(error.value)


def test_relative_directory_is_the_working_directorys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lifecycle.train(tiny_config("here/run"), label=LABEL)
    assert os.listdir(tmp_path) == ["here"]
    assert (tmp_path / "here" / "run" / "config.yaml").exists()
