"""``dqn-evaluate`` from the command line, on a run in its default directory."""

import json
import subprocess
import sys

import pytest
from helpers.tiny_runs import CARTPOLE, PONG, read_lines

from dqn import evaluate, train


def command(program, *arguments, monkeypatch):
    """A console script's function in this process; its exit status."""
    monkeypatch.setattr("sys.argv", [program.__name__, *arguments])
    try:
        program.main()
    except SystemExit as status:
        return status.code or 0
    return 0


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """A tiny run where ``dqn-train`` puts it: the path holds an equals sign."""
    monkeypatch.chdir(tmp_path)
    assert command(train, *CARTPOLE, monkeypatch=monkeypatch) == 0
    return "runs/cartpole/cartpole/rmsprop_deepmind/seed=1"


def test_an_evaluation_loads_nothing_of_sweeps():
    code = "import sys, dqn.evaluate; print(*(name for name in sys.modules if name[:4] == 'dqn.'))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = output.stdout.split()
    assert "dqn.command_line" in loaded
    assert not [name for name in loaded if name.startswith("dqn.sweep")]


def test_the_path_that_training_prints_can_be_pasted(run_dir, tmp_path, monkeypatch, capsys):
    arguments = (f"run_dir={run_dir}", "num_games=3", "epsilon=0.0", "video=false")
    assert command(evaluate, *arguments, monkeypatch=monkeypatch) == 0
    [line] = read_lines(tmp_path / run_dir / "evaluate/evaluations.jsonl")
    assert line["step"] >= 400
    assert len(line["returns"]) == 3
    # CartPole pays 1 a step, so a game's return is its length.
    assert line["returns"] == line["lengths"]
    assert "over 3 games" in capsys.readouterr().out


def test_the_same_seed_plays_the_same_games_and_another_does_not(run_dir, tmp_path, monkeypatch):
    for seed in (1, 1, 2):
        arguments = (f"run_dir={run_dir}", "num_games=5", "epsilon=0.5", f"seed={seed}")
        assert command(evaluate, *arguments, "video=false", monkeypatch=monkeypatch) == 0
    first, again, other = read_lines(tmp_path / run_dir / "evaluate/evaluations.jsonl")
    assert json.dumps(first) == json.dumps(again)
    assert first["returns"] != other["returns"]


def test_other_games_are_played_than_training_was_evaluated_on(run_dir, tmp_path, monkeypatch):
    """The default seeds of both commands are equal: the games must not be, nor the bias of a stop
    at the best evaluation."""
    arguments = (f"run_dir={run_dir}", "num_games=4", "max_num_envs=2", "video=false")
    assert command(evaluate, *arguments, monkeypatch=monkeypatch) == 0
    trained = read_lines(tmp_path / run_dir / "evaluations.jsonl")[-1]
    [line] = read_lines(tmp_path / run_dir / "evaluate/evaluations.jsonl")
    assert line["step"] == trained["step"]
    assert line["returns"] != trained["returns"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "run_dir"),
        (("run_dir=nowhere",), "run_dir=nowhere"),
        (("run_dir=nowhere", "num_games=0"), "num_games=0"),
        (("run_dir=nowhere", "num_game=3"), "num_games"),
        (("run_dir=nowhere", "epsilon=2"), "epsilon=2"),
        (("run_dir=nowhere", "device=tpu"), "device=tpu"),
        (("run_dir=nowhere", "human_scores=mine"), "no_op_57, nature_49"),
        (("run_dir=file",), "run_dir=file"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert command(evaluate, *arguments, monkeypatch=monkeypatch) == 2
    error = capsys.readouterr().err
    print(error, file=sys.stderr)
    assert error.count("\n") == 1
    assert named in error
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing is made"


def test_weights_of_a_file_play_as_the_run_that_wrote_it(run_dir, tmp_path, monkeypatch, capsys):
    arguments = (f"run_dir={run_dir}", "num_games=4", "epsilon=0.3", "video=false")
    best = tmp_path / run_dir / "checkpoints" / "best.safetensors"
    copy = tmp_path / "given=away.safetensors"
    copy.write_bytes(best.read_bytes())
    for weights in ("best", copy.name, "newest"):
        assert command(evaluate, *arguments, f"weights={weights}", monkeypatch=monkeypatch) == 0
    lines = read_lines(tmp_path / run_dir / "evaluate/evaluations.jsonl")
    assert [line["weights"] for line in lines] == ["best", copy.name, "newest"]
    assert lines[0]["returns"] == lines[1]["returns"]
    evaluations = read_lines(tmp_path / run_dir / "evaluations.jsonl")
    of_the_best = max(evaluations, key=lambda line: line["return_mean"])
    assert lines[0]["step"] == of_the_best["step"]
    assert "human_normalised" not in lines[0], "nobody has measured humans on CartPole"

    copy.write_bytes(best.read_bytes()[:-1])
    capsys.readouterr()
    for weights in (copy.name, "missing.safetensors"):
        assert command(evaluate, *arguments, f"weights={weights}", monkeypatch=monkeypatch) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"weights={weights}: must be newest, best or a .safetensors file" in error
    assert command(evaluate, *arguments, "protocol=machado", monkeypatch=monkeypatch) == 2
    assert "protocol=machado: cartpole has none" in capsys.readouterr().err


def test_another_protocol_and_human_table_can_be_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # Freeway's games last 2,048 steps and random play never crosses the road: a known score.
    atari = ("env.game=freeway", "total_agent_steps=210", "evaluation.max_num_envs=1")
    assert command(train, *PONG, *atari, "run_dir=run", monkeypatch=monkeypatch) == 0
    arguments = ("run_dir=run", "num_games=1", "epsilon=1.0", "video=false", "protocol=machado")
    for table in ("no_op_57", "nature_49"):
        arguments_here = (*arguments, f"human_scores={table}")
        assert command(evaluate, *arguments_here, monkeypatch=monkeypatch) == 0
    lines = read_lines(tmp_path / "run" / "evaluate" / "evaluations.jsonl")
    assert [line["protocol"] for line in lines] == ["machado", "machado"]
    assert [line["human_scores"] for line in lines] == ["no_op_57", "nature_49"]
    # Both tables: random 0.0, human 29.6.
    for line in lines:
        assert line["human_normalised"] == pytest.approx(line["return_mean"] / 29.6)
    assert "table nature_49" in capsys.readouterr().out
    unknown = (*arguments[:-1], "protocol=natur")
    assert command(evaluate, *unknown, monkeypatch=monkeypatch) == 2
    assert "did you mean nature?" in capsys.readouterr().err


def test_where_nothing_can_be_written_no_game_is_played(run_dir, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    capsys.readouterr()
    arguments = (f"run_dir={run_dir}", "out_dir=file/out")
    assert command(evaluate, *arguments, monkeypatch=monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("dqn-evaluate: out_dir=file/out: must be a directory")
    assert captured.out == ""
