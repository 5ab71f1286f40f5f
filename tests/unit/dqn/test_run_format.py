"""The names of metrics, against what training and the monitor really write."""

import torch
from helpers.tiny_runs import read_lines, tiny_config

from dqn import run_format
from dqn.run import lifecycle
from dqn.run_format import (
    EFFECTIVE_LR_QUANTILES,
    METRICS_FILE,
    effective_lr_log10_tag,
    effective_lr_tag,
    eps_bound_tag,
    update_ratio_tag,
)
from rmsprop import EffectiveLearningRateMonitor, RMSprop


def scalars_of_layer(parameter):
    rates = {effective_lr_tag(parameter, quantile) for quantile in EFFECTIVE_LR_QUANTILES}
    return rates | {eps_bound_tag(parameter), update_ratio_tag(parameter)}


def test_the_monitor_of_any_script_writes_the_tags_of_our_layers():
    class Tags:
        def __init__(self):
            self.scalars, self.histograms = set(), set()

        def add_scalar(self, tag, scalar_value, global_step):
            self.scalars.add(tag)

        def add_histogram_raw(self, tag, **histogram):
            self.histograms.add(tag)

    theta, tags = torch.nn.Parameter(torch.ones(3)), Tags()
    optimizer = RMSprop([("head.weight", theta)], lr=0.1)
    monitor = EffectiveLearningRateMonitor(optimizer, tags, period_steps=1)
    theta.grad = torch.ones(3)
    optimizer.step()
    monitor.detach()
    assert tags.scalars == scalars_of_layer("head.weight")
    assert tags.histograms == {effective_lr_log10_tag("head.weight")}


def test_every_metric_of_a_run_has_a_name_here_and_every_name_a_metric(tmp_path):
    lifecycle.train(tiny_config(tmp_path / "run"), label="names")
    written = {tag for line in read_lines(tmp_path / "run" / METRICS_FILE) for tag in line}
    parameters = {name for tag in written if (name := run_format.parameter_of_median(tag))}
    assert len(parameters) == 4  # weights and biases of two layers
    named = {
        value
        for value in vars(run_format).values()
        if isinstance(value, str) and value.split("/")[0] in ("episode", "eval", "train", "speed")
    } - {run_format.EVALUATION_PREFIX}
    of_layers = set().union(*map(scalars_of_layer, parameters))
    assert written - {"step", "frames", "updates"} == named | of_layers
