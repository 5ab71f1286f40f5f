"""Published curves and TensorBoard logs read from files written by hand."""

import gzip
import json

import pytest
from torch.utils.tensorboard import SummaryWriter

from dqn.comparison.read.published import read_csv, read_dopamine_json, read_tensorboard
from dqn.comparison.run import InputError


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
