"""Runs read from files written by hand, in every format that is promised."""

import gzip
import json

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter
from written_runs import LAYER, write_run

from dqn.comparison.read import our_runs
from dqn.comparison.read.find import find_runs
from dqn.comparison.read.our_runs import read_run
from dqn.comparison.read.published import read_csv, read_dopamine_json, read_tensorboard
from dqn.comparison.run import InputError, canonical_game
from dqn.run import directory, provenance
from dqn.training import nonfinite, telemetry


def test_files_have_the_names_that_training_gives_them():
    assert our_runs.METRICS_FILE == telemetry.METRICS_FILE
    assert our_runs.CONFIG_FILE == directory.CONFIG_FILE
    assert our_runs.NONFINITE_DIRECTORY == nonfinite.DIRECTORY
    assert our_runs.PROVENANCE_FILE == provenance.PROVENANCE_FILE


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


def test_dopamine_json_holds_runs_one_after_another_or_side_by_side(tmp_path):
    one_after_another = [(0, 1.0), (1, 2.0), (0, 10.0), (1, 20.0)]
    side_by_side = [(0, 1.0), (0, 10.0), (1, 2.0), (1, 20.0)]
    for name, points in (("bankheist", one_after_another), ("bankheist_CNN", side_by_side)):
        entries = [{"Iteration": i, "Value": v, "Agent": "DQN"} for i, v in points]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(entries))
        first, second = read_dopamine_json(path)
        assert first.scores.values.tolist() == [1, 2]
        assert second.scores.values.tolist() == [10, 20]
        # A million frames an iteration, four frames a step.
        assert first.scores.steps.tolist() == [250_000, 500_000]
        assert (first.game, first.score_kind) == ("bank_heist", "unstated")
    assert first.optimizer == "DQN (CNN)"


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_dopamine_curves_in_wide_csv(tmp_path, suffix):
    text = "game,agent,million_frames,run1,run2\nmspacman,dqn,1,5,6\nmspacman,dqn,2,7,\n"
    path = tmp_path / f"curves{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix == ".csv.gz" else text.encode())
    first, second = read_csv(path)
    assert (first.game, first.seed, second.seed) == ("ms_pacman", "1", "2")
    assert first.scores.steps.tolist() == [250_000, 500_000]
    assert first.scores.values.tolist() == [5, 7]
    assert second.scores.values.tolist() == [6]  # A missing value is no zero.


def test_dqn_zoo_results_by_game_and_seed_with_the_agent_in_the_file_name(tmp_path):
    # pandas wrote results.tar.gz: a first column without a name.
    path = tmp_path / "double_q.csv"
    path.write_text(
        ",environment_name,eval_episode_return,frame,iteration,seed,train_episode_return\n"
        "0,pong,-20.5,0,0,1,nan\n1,pong,-3.0,1000000,1,1,-9\n2,pong,-19.0,0,0,2,nan\n"
    )
    first, second = read_csv(path)
    assert (first.optimizer, first.game, first.seed, second.seed) == ("double_q", "pong", "1", "2")
    assert first.scores.steps.tolist() == [0, 250_000]
    assert first.scores.values.tolist() == [-20.5, -3]
    assert first.score_kind == "evaluation"


def test_any_tensorboard_log_by_its_tag_of_returns(tmp_path):
    directory = tmp_path / "BreakoutNoFrameskip-v4__dqn_atari__3__1700000000"
    with SummaryWriter(str(directory)) as writer:
        for step, value in ((100, 1.0), (200, 3.0), (300, 8.0)):
            writer.add_scalar("charts/episodic_return", value, step)
            writer.add_scalar("eval/other", -value, step)
    run = read_tensorboard(directory, tag=None, game=None)
    assert (run.optimizer, run.game, run.seed) == ("dqn_atari", "breakout", "3")
    assert run.scores.values.tolist() == [1.0, 2.0, 4.0]  # Means of one, two and three games.
    other = read_tensorboard(directory, tag="eval/other", game="pong")
    assert (other.game, other.scores.values.tolist()) == ("pong", [-1.0, -3.0, -8.0])
    with pytest.raises(InputError, match=r"--tag=x: .* has no such tag .*charts/episodic_return"):
        read_tensorboard(directory, tag="x", game=None)


def test_tensorboard_log_keeps_every_point(tmp_path):
    directory = tmp_path / "pong" / "mine" / "seed=2"
    with SummaryWriter(str(directory), max_queue=100_000) as writer:
        for step in range(10_500):  # EventAccumulator samples 10,000 unless told otherwise.
            writer.add_scalar("eval/return_mean", step, step)
    run = read_tensorboard(directory, tag=None, game=None)
    assert run.scores.steps.size == 10_500
    assert (run.optimizer, run.game, run.seed) == ("mine", "pong", "2")


def test_log_that_does_not_say_its_game_asks_for_it(tmp_path):
    with SummaryWriter(str(tmp_path / "log")) as writer:
        writer.add_scalar("eval/mean_reward", 1.0, 1)
    with pytest.raises(InputError, match=r"--game: .*log does not say which game"):
        read_tensorboard(tmp_path / "log", tag=None, game=None)


def test_a_tree_is_searched_and_a_name_replaces_the_group(tmp_path):
    write_run(tmp_path / "a" / "adam" / "seed=1", [(10, 1.0)])
    write_run(tmp_path / "a" / "adam" / "seed=2", [(10, 2.0)], seed=2)
    runs, _ = find_runs([str(tmp_path)])
    assert [(run.optimizer, run.seed) for run in runs] == [("adam", "1"), ("adam", "2")]
    # The path holds a "=" itself.
    renamed, _ = find_runs([f"mine={tmp_path}/a/adam/seed=2"])
    assert [(run.optimizer, run.seed) for run in renamed] == [("mine", "2")]


def test_our_runs_are_not_read_twice_through_their_event_files(tmp_path):
    directory = write_run(tmp_path / "pong" / "adam" / "seed=1", [(10, 1.0)])
    with SummaryWriter(str(directory)) as writer:
        writer.add_scalar("eval/return_mean", 1.0, 10)
    assert len(find_runs([str(tmp_path)])[0]) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"x": 1}', "must be a list of Iteration, Value and Agent"),
        ("a.json", "not json", "must be a list of Iteration, Value and Agent"),
        ("a.csv", "x,y\n1,2\n", "its columns must include game, agent"),
        ("a.csv", "frame,eval_episode_return\n1,high\n", "cannot be read as CSV"),
        ("a.csv", "game,agent,million_frames,run1\npong,dqn\n", "holds no run"),
        ("a.csv.gz", "no gzip", "cannot be read as CSV"),
    ],
)
def test_files_of_other_formats_are_refused_by_name(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message) as refusal:
        find_runs([str(path)])
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_half_a_gzip_and_binary_metrics_are_refused_by_name(tmp_path):
    whole = gzip.compress(b"game,agent,million_frames,run1\npong,dqn,1,5\n" * 50)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut.csv.gz: cannot be read as CSV"):
        find_runs([str(tmp_path / "cut.csv.gz")])
    directory = write_run(tmp_path / "run", [(10, 1.0), (20, 2.0)])
    (directory / "metrics.jsonl").write_bytes(b"\xff\xfe\x00\n{}\n")
    with pytest.raises(InputError, match=r"metrics.jsonl: line 1 must be a JSON object"):
        read_run(directory)


def test_places_without_runs_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"RUNS=.*: holds no run; expected metrics.jsonl"):
        find_runs([str(tmp_path)])
    with pytest.raises(InputError, match=r"RUNS=nowhere: no such file or directory"):
        find_runs(["nowhere"])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Pong", "pong"),
        ("ALE/MsPacman-v5", "ms_pacman"),
        ("SpaceInvadersNoFrameskip-v4", "space_invaders"),
        ("montezumarevenge", "montezuma_revenge"),
        ("airraid", "air_raid"),
        ("MinAtar/Breakout-v1", "minatar_breakout"),
        ("my game", "my_game"),
    ],
)
def test_games_have_one_name_however_they_are_written(written, meant):
    assert canonical_game(written) == meant
