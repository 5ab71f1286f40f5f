"""Metrics read back by json and by TensorBoard's own reader."""

import json
import math
import resource
import threading

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from dqn.evaluation.whole_games import Evaluation
from dqn.training.telemetry import Telemetry
from rmsprop import Log10Histogram


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_events(run_dir):
    accumulator = EventAccumulator(str(run_dir), size_guidance={"scalars": 0, "histograms": 0})
    accumulator.Reload()
    return accumulator


def summary_metadata(run_dir):
    """Tag -> plugin metadata, of every record in the run's only event file."""
    (path,) = run_dir.glob("events.out.tfevents.*")
    return {
        value.tag: value.metadata.plugin_data
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }


def test_a_write_is_one_line_and_one_scalar_per_tag(tmp_path):
    with Telemetry(tmp_path, frame_skip=4) as telemetry:
        telemetry.write(10, 2, {"train/loss": 0.5, "train/q_mean": -1.25})
        telemetry.write(20, 5, {"train/loss": 0.25})
    assert read_lines(tmp_path / "metrics.jsonl") == [
        {"step": 10, "frames": 40, "updates": 2, "train/loss": 0.5, "train/q_mean": -1.25},
        {"step": 20, "frames": 80, "updates": 5, "train/loss": 0.25},
    ]
    events = read_events(tmp_path)
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert losses == [(10, 0.5), (20, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("train/q_mean")] == [(10, -1.25)]


def test_a_line_is_on_disk_before_the_run_ends(tmp_path):
    with Telemetry(tmp_path, frame_skip=1) as telemetry:
        telemetry.write(10, 2, {"train/loss": 0.5})
        assert len(read_lines(tmp_path / "metrics.jsonl")) == 1


def test_no_scalar_is_thinned_out(tmp_path):
    with Telemetry(tmp_path, frame_skip=1) as telemetry:
        for step in range(3000):
            telemetry.write(step, 0, {"episode/return": float(step)})
    assert [e.step for e in read_events(tmp_path).Scalars("episode/return")] == list(range(3000))


def test_an_evaluation_keeps_every_game_and_summarises_them(tmp_path):
    evaluation = Evaluation(returns=[1.0, 3.0], lengths=[10, 30])
    with Telemetry(tmp_path, frame_skip=4) as telemetry:
        telemetry.write_evaluation(100, 7, evaluation, elapsed_seconds=1.5)
    assert read_lines(tmp_path / "evaluations.jsonl") == [
        {
            "step": 100,
            "frames": 400,
            "updates": 7,
            "return_mean": 2.0,
            "return_std": 1.0,
            "returns": [1.0, 3.0],
            "lengths": [10, 30],
        }
    ]
    (line,) = read_lines(tmp_path / "metrics.jsonl")
    assert line["eval/return_mean"] == 2.0
    assert line["eval/return_std"] == 1.0
    assert line["eval/length_mean"] == 20.0
    assert line["speed/evaluation_seconds"] == 1.5


def test_histogram_reaches_tensorboard_bucket_by_bucket(tmp_path):
    histogram = Log10Histogram(bin_edges=(-4.0, -3.0, -2.0, -1.0), counts=(5, 0, 2))
    with Telemetry(tmp_path, frame_skip=1) as telemetry:
        telemetry.write_histogram(10, "effective_lr_log10/weight", histogram)
    (event,) = read_events(tmp_path).Histograms("effective_lr_log10/weight")
    value = event.histogram_value
    assert event.step == 10
    # TensorBoard's reader opens every histogram with an empty bucket up to its minimum.
    filled = [
        (limit, count)
        for limit, count in zip(value.bucket_limit, value.bucket, strict=True)
        if count
    ]
    assert filled == [(-3.0, 5.0), (-1.0, 2.0)]
    assert (value.min, value.max, value.num) == (-4.0, -1.0, 7.0)
    assert value.sum == pytest.approx(5 * -3.5 + 2 * -1.5)
    assert value.sum_squares == pytest.approx(5 * 3.5**2 + 2 * 1.5**2)


def test_an_empty_histogram_is_not_written(tmp_path):
    histogram = Log10Histogram(bin_edges=(-4.0, -3.0), counts=(0,))
    with Telemetry(tmp_path, frame_skip=1) as telemetry:
        telemetry.write_histogram(10, "effective_lr_log10/weight", histogram)
    assert read_events(tmp_path).Tags()["histograms"] == []


def test_hyperparameters_are_one_entry_in_the_runs_own_file(tmp_path):
    with Telemetry(tmp_path, frame_skip=1) as telemetry:
        telemetry.write_hyperparameters(
            {"optimizer.lr": 2.5e-4, "seed": 1, "betas": "[0.9, 0.999]"}
        )
        telemetry.write(10, 1, {"eval/return_mean": 5.0})
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [], "a second run was made"
    metadata = summary_metadata(tmp_path)
    start = plugin_data_pb2.HParamsPluginData.FromString(
        metadata["_hparams_/session_start_info"].content
    ).session_start_info
    assert start.hparams["optimizer.lr"].number_value == 2.5e-4
    assert start.hparams["seed"].number_value == 1
    assert start.hparams["betas"].string_value == "[0.9, 0.999]"
    experiment = plugin_data_pb2.HParamsPluginData.FromString(
        metadata["_hparams_/experiment"].content
    ).experiment
    assert [info.name.tag for info in experiment.metric_infos] == ["eval/return_mean"]


def test_layout_shows_the_return_first_and_a_band_for_every_layer(tmp_path):
    with Telemetry(tmp_path, frame_skip=1) as telemetry:
        telemetry.write_layout(["torso.weight", "head.bias"])
    (tensor,) = read_events(tmp_path).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    first, second = layout.category
    returns, *bands = first.chart
    assert list(returns.multiline.tag) == ["episode/return", "eval/return_mean"]
    assert [
        (band.title, series.value, series.lower, series.upper)
        for band in bands
        for series in band.margin.series
    ] == [
        (name, *(f"effective_lr/{name}/{quantile}" for quantile in ("p50", "p05", "p95")))
        for name in ("torso.weight", "head.bias")
    ]
    assert {tag for chart in second.chart for tag in chart.multiline.tag} == {
        f"{quantity}/{name}"
        for quantity in ("update_ratio", "effective_lr_eps_bound")
        for name in ("torso.weight", "head.bias")
    }


def test_resumed_run_drops_what_came_after_its_checkpoint(tmp_path):
    """Also what was logged at the checkpoint's own step, after it."""
    first = Telemetry(tmp_path, frame_skip=1)
    for step in (10, 20, 30):
        first.write(step, step, {"train/loss": float(step)})
        if step == 20:
            first.flush()
            position = first.position(20)
        first.write_evaluation(step, step, Evaluation([0.0], [step]), elapsed_seconds=0.0)
    first.close()
    other = Telemetry(tmp_path, frame_skip=1, position=position)
    other.write(25, 25, {"train/loss": -25.0})
    other.close()
    with Telemetry(tmp_path, frame_skip=1, position=position) as telemetry:
        telemetry.write(25, 25, {"train/loss": 25.0})
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert [line["train/loss"] for line in lines if "train/loss" in line] == [10, 20, 25]
    assert [line["step"] for line in read_lines(tmp_path / "evaluations.jsonl")] == [10]
    events = read_events(tmp_path)
    losses = [(e.step, e.value) for e in events.Scalars("train/loss")]
    assert losses == [(10, 10.0), (20, 20.0), (25, 25.0)]
    assert [e.step for e in events.Scalars("eval/return_mean")] == [10]


def test_line_cut_short_by_a_crash_is_dropped_on_resuming(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with Telemetry(tmp_path, frame_skip=1) as telemetry:
        telemetry.write(10, 1, {"train/loss": 1.0})
        telemetry.flush()
        position = telemetry.position(15)
    with path.open("a") as file:
        file.write('{"step": 11, "train/lo')
    with Telemetry(tmp_path, frame_skip=1, position=position) as telemetry:
        telemetry.write(20, 5, {"train/loss": 1.0})
    assert [line["step"] for line in read_lines(path)] == [10, 20]


@pytest.mark.parametrize("damage", ["flip", "shorten", "remove"])
def test_lines_that_were_changed_since_are_told_of_and_the_run_goes_on(tmp_path, capsys, damage):
    path = tmp_path / "metrics.jsonl"
    with Telemetry(tmp_path, frame_skip=1) as telemetry:
        for step in (10, 20):
            telemetry.write(step, 1, {"train/loss": 1.0})
        telemetry.flush()
        position = telemetry.position(20)
    if damage == "flip":
        path.write_text(path.read_text().replace("10", "18", 1))
    elif damage == "shorten":
        path.write_text(path.read_text().partition("\n")[0] + "\n")
    else:
        path.unlink()
    with Telemetry(tmp_path, frame_skip=1, position=position) as telemetry:
        telemetry.write(30, 1, {"train/loss": 1.0})
    (warning,) = capsys.readouterr().err.splitlines()
    assert f"warning: {path} is not what this run had written" in warning
    expected = {"flip": [18, 20, 30], "shorten": [10, 30], "remove": [30]}
    assert [line["step"] for line in read_lines(path)] == expected[damage]


@pytest.fixture
def limit_file_size():
    """Let no file grow beyond so many bytes: the system then writes in part, then refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_reported_once_and_no_line_is_lost(
    tmp_path, capsys, limit_file_size, monkeypatch
):
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    path = tmp_path / "metrics.jsonl"
    with Telemetry(tmp_path, frame_skip=1) as telemetry:
        telemetry.write(10, 1, {"train/loss": 1.0})
        limit_file_size(path.stat().st_size + 7)
        for step in range(20, 60, 10):
            telemetry.write(step, step, {"train/loss": 1.0})
        telemetry.flush()
        assert [line["step"] for line in read_lines(path)] == [10], "no half of a line stays"
        position = telemetry.position(50)
        limit_file_size(resource.RLIM_INFINITY)
        telemetry.flush()
        assert [line["step"] for line in read_lines(path)] == [10, 20, 30, 40, 50]
    (warning,) = capsys.readouterr().err.splitlines()
    assert "metrics cannot be written and wait in memory, training goes on: [Errno 27]" in warning
    # Killed while they waited: the checkpoint knows them.
    with Telemetry(tmp_path, frame_skip=1, position=position) as telemetry:
        telemetry.write(60, 60, {"train/loss": 1.0})
    assert [line["step"] for line in read_lines(path)] == [10, 20, 30, 40, 50, 60]


def test_file_that_leads_elsewhere_is_refused(tmp_path):
    """A stranger's run must not make us write into our own files."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        Telemetry(tmp_path / "run", frame_skip=1)
    assert elsewhere.read_text() == "precious"


def test_failing_event_file_costs_no_line_of_metrics(tmp_path, capsys, monkeypatch):
    # TensorBoard's writer thread raises too, for nobody to catch.
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    with Telemetry(tmp_path, frame_skip=1) as telemetry:
        record_writer = telemetry._tensorboard.file_writer.event_writer._async_writer._writer

        def fail(data):
            raise OSError(28, "No space left on device")

        record_writer.write = fail
        for step in range(50):
            telemetry.write(step, step, {"train/loss": 1.0})
            telemetry.flush()
    assert len(read_lines(tmp_path / "metrics.jsonl")) == 50
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warn")]
    assert len(warnings) == 1


def test_values_survive_the_text_exactly(tmp_path):
    values = [0.1, 1 / 3, 1e-300, math.pi, 12345678.9]
    with Telemetry(tmp_path, frame_skip=1) as telemetry:
        for step, value in enumerate(values):
            telemetry.write(step, 0, {"train/loss": value})
    assert [line["train/loss"] for line in read_lines(tmp_path / "metrics.jsonl")] == values
