"""What the paths of a command line find, and what is refused by name."""

import gzip

import pytest
from helpers.written_runs import write_run
from torch.utils.tensorboard import SummaryWriter

from dqn.comparison.read.find import find_runs
from dqn.comparison.read.our_runs import read_run
from dqn.comparison.run import InputError


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
