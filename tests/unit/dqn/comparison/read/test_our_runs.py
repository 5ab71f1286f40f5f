"""Runs of ``dqn-train`` read from files written by hand."""

import numpy as np
import pytest
from helpers.written_runs import LAYER, write_run

from dqn.comparison.read.find import find_runs
from dqn.comparison.read.our_runs import read_run
from dqn.comparison.run import InputError


def test_our_run_is_read_with_its_names_scores_time_and_diagnostics(tmp_path):
    directory = write_run(
        tmp_path / "pong" / "adam" / "seed=7",
        [(100, -20.0), (300, -10.0)],
        seed=7,
        speed=50.0,
        rate=2e-3,
    )
    run = read_run(directory)
    assert (run.optimizer, run.game, run.seed) == ("adam", "pong", "7")
    assert run.scores.steps.tolist() == [100, 300]
    assert run.scores.values.tolist() == [-20, -10]
    assert run.score_kind == "evaluation"
    assert run.frames_per_agent_step == 4
    assert run.setting("optimizer.lr") == 2e-3
    # 100 steps at 50 a second, then 200 more: 2 s and 6 s.
    assert run.seconds.at(np.array([100.0, 300.0])).tolist() == [2.0, 6.0]
    assert run.diagnostics[f"effective_lr/{LAYER}/p95"].values.tolist() == [4e-3, 4e-3]
    assert run.diagnostics[f"update_ratio/{LAYER}"].values.tolist() == [2e-4, 2e-4]
    assert not run.is_unfinished


def test_minatar_games_are_not_taken_for_the_atari_games_of_their_name(tmp_path):
    env = {"kind": "minatar", "game": "breakout", "protocol": "minatar_v1", "id": None}
    run = read_run(write_run(tmp_path / "run", [(10, 1.0)], settings={"env": env}))
    assert run.game == "minatar_breakout"


def test_protocol_names_what_decides_an_evaluation(tmp_path):
    run = read_run(write_run(tmp_path / "run", [(10, 1.0)], protocol="machado"))
    assert run.protocol == "machado, 10 evaluation games, ε the protocol's"


def test_training_returns_become_a_mean_of_the_last_hundred_games(tmp_path):
    returns = np.random.default_rng(0).normal(size=250)
    directory = write_run(tmp_path / "run", [(1 + i, r + 1) for i, r in enumerate(returns)])
    run = read_run(directory, metric="episode/return")
    assert run.score_kind == "training"
    for end in (0, 50, 99, 100, 249):
        expected = returns[max(0, end - 99) : end + 1].mean()
        assert run.scores.values[end] == pytest.approx(expected)


def test_a_line_cut_by_a_crash_is_left_out_but_a_bad_one_inside_is_refused(tmp_path):
    directory = write_run(tmp_path / "run", [(10, 1.0), (20, 2.0)])
    path = directory / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"step": 30, "eval/retu')
    assert read_run(directory).scores.steps.tolist() == [10, 20]
    path.write_text("[1]\n" + whole)
    with pytest.raises(InputError, match=r"metrics.jsonl: line 1 must be a JSON object"):
        read_run(directory)


def test_a_run_without_the_metric_is_none_and_reported(tmp_path):
    directory = write_run(tmp_path / "run", [(10, 1.0)])
    assert read_run(directory, metric="eval/nothing") is None
    assert find_runs([str(tmp_path)], metric="eval/nothing") == ([], [str(directory)])


def test_unfinished_and_solved_runs_are_told_apart(tmp_path):
    cut = read_run(write_run(tmp_path / "cut", [(10, 1.0)], total_agent_steps=20))
    assert cut.is_unfinished
    assert not cut.has_diverged
    (tmp_path / "cut" / "nonfinite").mkdir()
    assert read_run(tmp_path / "cut").has_diverged
    solved = read_run(
        write_run(tmp_path / "ok", [(10, 480.0)], total_agent_steps=20, stop_at=475.0)
    )
    assert not solved.is_unfinished
    assert solved.is_solved
    assert solved.extent == float("inf")


def test_a_run_that_still_plays_its_last_evaluation_is_unfinished(tmp_path):
    run_dir = write_run(tmp_path / "run", [(10, 1.0), (20, 2.0)])
    assert not read_run(run_dir).is_unfinished
    metrics = run_dir / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:-1]))
    assert '"step": 20' in lines[-2], "training has logged its last step"
    assert read_run(run_dir).is_unfinished


def test_versions_of_the_code_are_read_in_the_order_in_which_they_worked(tmp_path):
    directory = write_run(tmp_path / "run", [(10, 1.0)])
    assert read_run(directory).codes == ()  # of a time before they were noted
    lines = ['{"step": 0, "code": "a"}', '{"step": 5, "co', "[1]", '{"code": 7}']
    lines += ['{"step": 5, "code": "b"}', '{"step": 8, "code": "a"}']
    (directory / "provenance.jsonl").write_text("\n".join(lines))
    assert read_run(directory).codes == ("a", "b")
    lines = ['{"step": 0, "code": "a"}', '{"step": 5, "code": "lost"}', '{"step": 5, "code": "b"}']
    lines += ["[" * 200_000, '{"step": 8, "code": "\\u001b[2J"}']  # A stranger's.
    (directory / "provenance.jsonl").write_text("\n".join(lines))
    assert read_run(directory).codes == ("a", "b")


@pytest.mark.parametrize(
    "path",
    ["pong/adam/seed=1", "pong/adam/error_bound=1.0/seed=1", "adam/lr=0.1/eps=1e-05/seed=1"],
)
def test_optimizer_is_the_folder_that_names_it(tmp_path, path):
    assert read_run(write_run(tmp_path / path, [(10, 1.0)])).optimizer == "adam"
