"""EffectiveLearningRateMonitor: what it writes, when, and that it leaves training as it was."""

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from rmsprop import (
    EffectiveLearningRateMonitor,
    RMSprop,
    effective_learning_rate_summaries,
)


class RecordingWriter:
    def __init__(self):
        self.scalars = {}
        self.histograms = {}

    def add_scalar(self, tag, scalar_value, global_step):
        self.scalars[tag, global_step] = scalar_value

    def add_histogram_raw(self, tag, *, global_step, **histogram):
        self.histograms[tag, global_step] = histogram


def train(optimizer, param, num_steps):
    for step in range(num_steps):
        param.grad = torch.linspace(0.1, 1.0, param.numel()) * (1 + step)
        optimizer.step()


def test_every_tag_is_written_at_every_period_and_only_then():
    param, writer = torch.ones(10), RecordingWriter()
    optimizer = RMSprop([("w", param)])
    EffectiveLearningRateMonitor(optimizer, writer, period_steps=3)
    train(optimizer, param, 7)
    tags = [f"effective_lr/w/{q}" for q in ("p05", "p50", "p95")]
    tags += ["effective_lr_eps_bound/w", "update_ratio/w"]
    assert set(writer.scalars) == {(tag, step) for tag in tags for step in (3, 6)}
    assert set(writer.histograms) == {("effective_lr_log10/w", step) for step in (3, 6)}


def test_values_written_are_those_of_the_step_just_taken():
    param, writer = torch.ones(10), RecordingWriter()
    optimizer = RMSprop([("w", param)], weight_decay=0.1)
    EffectiveLearningRateMonitor(optimizer, writer, period_steps=2)
    train(optimizer, param, 1)
    before = param.clone()
    train(optimizer, param, 1)
    summary = effective_learning_rate_summaries(optimizer)["w"]
    for tag, value in summary.scalars("w").items():
        assert writer.scalars[tag, 2] == value
    ratio = ((param - before).norm() / before.norm()).item()
    assert writer.scalars["update_ratio/w", 2] == pytest.approx(ratio, rel=1e-6)
    histogram = writer.histograms["effective_lr_log10/w", 2]
    assert histogram == summary.log10_histogram.tensorboard()
    assert histogram["num"] == sum(histogram["bucket_counts"]) == 10
    assert len(histogram["bucket_limits"]) == len(histogram["bucket_counts"])
    assert histogram["min"] * 10 <= histogram["sum"] <= histogram["max"] * 10


def test_a_histogram_without_a_finite_positive_rate_is_not_written():
    param, writer = torch.ones(10), RecordingWriter()
    optimizer = RMSprop([("w", param)], lr=0.0)
    EffectiveLearningRateMonitor(optimizer, writer, period_steps=1)
    train(optimizer, param, 1)
    assert writer.scalars["effective_lr/w/p50", 1] == 0.0
    assert writer.histograms == {}


def test_a_monitored_run_is_the_run_without_a_monitor():
    watched, alone = torch.ones(10), torch.ones(10)
    optimizers = RMSprop([watched]), RMSprop([alone])
    EffectiveLearningRateMonitor(optimizers[0], RecordingWriter(), period_steps=1)
    for param, optimizer in zip((watched, alone), optimizers, strict=True):
        train(optimizer, param, 5)
    assert torch.equal(watched, alone)


def test_detached_it_writes_no_more_and_a_new_one_continues_the_count():
    param, writer = torch.ones(10), RecordingWriter()
    optimizer = RMSprop([param])
    monitor = EffectiveLearningRateMonitor(optimizer, writer, period_steps=1)
    train(optimizer, param, 2)
    monitor.detach()
    train(optimizer, param, 2)
    EffectiveLearningRateMonitor(optimizer, writer, period_steps=1, initial_step=10)
    train(optimizer, param, 1)
    assert sorted({step for _, step in writer.scalars}) == [1, 2, 11]


def test_tensorboard_reads_back_what_was_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    param = torch.ones(10)
    optimizer = RMSprop([("w", param)])
    with SummaryWriter(str(tmp_path)) as writer:
        EffectiveLearningRateMonitor(optimizer, writer, period_steps=1)
        train(optimizer, param, 2)
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    assert [event.step for event in events.Scalars("effective_lr/w/p50")] == [1, 2]
    assert events.Histograms("effective_lr_log10/w")[1].histogram_value.num == 10


def test_a_period_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="period_steps must be at least 1, got 0"):
        EffectiveLearningRateMonitor(RMSprop([torch.ones(1)]), RecordingWriter(), period_steps=0)
