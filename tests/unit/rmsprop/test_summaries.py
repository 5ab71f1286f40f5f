"""Summaries of effective learning rates against sorted rates, and as TensorBoard takes them."""

import math

import pytest
import torch

from rmsprop import (
    Adagrad,
    LayerSummary,
    Log10Histogram,
    RMSprop,
    dialects,
    effective_learning_rate_summaries,
    effective_learning_rates,
)


@pytest.mark.parametrize("dialect", ["torch", "deepmind", "dopamine"])
@pytest.mark.parametrize("decades", [0.1, 2.0, 6.0])
def test_summary_agrees_with_sorted_rates_within_the_promised_accuracy(dialect, decades):
    theta = torch.zeros(20_000)
    optimizer = RMSprop([("theta", theta)], **dialects[dialect])
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        theta.grad = 10 ** (decades * (torch.rand(20_000, generator=generator) - 0.7))
        optimizer.step()
    rates = effective_learning_rates(optimizer)["theta"].double()
    summary = effective_learning_rate_summaries(optimizer)["theta"]
    log10_rates = rates.log10()
    bin_width = (log10_rates.max() - log10_rates.min()).item() / 4096
    for quantile, share in [(summary.p05, 0.05), (summary.p50, 0.5), (summary.p95, 0.95)]:
        exact = log10_rates.quantile(share).item()
        assert math.log10(quantile) == pytest.approx(exact, abs=bin_width + 1e-3 * bin_width + 1e-5)
    histogram = summary.log10_histogram
    assert sum(histogram.counts) == 20_000
    assert len(histogram.bin_edges) == len(histogram.counts) + 1 == 65
    assert histogram.bin_edges[0] == pytest.approx(log10_rates.min().item(), abs=1e-5)
    assert histogram.bin_edges[-1] == pytest.approx(log10_rates.max().item(), abs=1e-5)


@pytest.mark.parametrize("eps_inside_sqrt", [False, True])
def test_share_bound_by_epsilon_counts_roots_below_it(eps_inside_sqrt):
    theta = torch.zeros(4)
    theta.grad = torch.tensor([0.0, 0.05, 0.2, 1.0])
    options = {"alpha": 0.0, "eps": 0.01 if eps_inside_sqrt else 0.1}
    optimizer = RMSprop([theta], **options, eps_inside_sqrt=eps_inside_sqrt)
    optimizer.step()
    assert effective_learning_rate_summaries(optimizer)["0.0"].eps_bound == 0.5


@pytest.mark.parametrize(
    ("optimizer_class", "options", "window_steps"),
    [
        (RMSprop, {"alpha": 0.95, "centered": True}, 20),
        (RMSprop, {"alpha": 0.0}, 1),
        (RMSprop, {"alpha": 1.0}, math.inf),
        (torch.optim.RMSprop, {}, 100),
        (torch.optim.Adam, {}, 1000),
        (Adagrad, {}, math.inf),
        (torch.optim.SGD, {}, 0),
    ],
)
def test_summary_tells_how_many_steps_the_average_remembers(optimizer_class, options, window_steps):
    theta = torch.zeros(3)
    optimizer = optimizer_class([theta], **options)
    theta.grad = torch.ones(3)
    optimizer.step()
    summary = effective_learning_rate_summaries(optimizer)["0.0"]
    assert summary.window_steps == pytest.approx(window_steps)


def test_summary_of_equal_rates_is_that_rate():
    theta = torch.zeros(5)
    summary = effective_learning_rate_summaries(torch.optim.SGD([theta], lr=0.1))["0.0"]
    assert [summary.p05, summary.p50, summary.p95] == pytest.approx([0.1] * 3, rel=1e-6)
    histogram = summary.log10_histogram
    assert sum(histogram.counts) == 5
    [index] = [i for i, count in enumerate(histogram.counts) if count > 0]
    lower, upper = histogram.bin_edges[index : index + 2]
    assert lower - 1e-6 <= -1 < upper
    assert summary.eps_bound == 0.0


def test_infinite_rates_are_left_out_of_quantiles_and_histogram():
    theta = torch.zeros(3)
    theta.grad = torch.tensor([0.0, 1.0, 1.0])
    optimizer = Adagrad([theta], lr=0.1, eps=0.0, initial_accumulator_value=0.0)
    optimizer.step()
    summary = effective_learning_rate_summaries(optimizer)["0.0"]
    assert sum(summary.log10_histogram.counts) == 2
    assert summary.p50 == pytest.approx(0.1, rel=1e-6)


def test_summary_with_a_learning_rate_of_zero_is_zero():
    theta = torch.ones(3)
    theta.grad = torch.ones(3)
    optimizer = RMSprop([theta], lr=0.0)
    optimizer.step()
    summary = effective_learning_rate_summaries(optimizer)["0.0"]
    assert (summary.p05, summary.p50, summary.p95) == (0.0, 0.0, 0.0)
    assert sum(summary.log10_histogram.counts) == 0


def test_bins_that_do_not_divide_the_fine_histogram_are_refused():
    with pytest.raises(ValueError, match="num_bins must divide 4096, got 60"):
        effective_learning_rate_summaries(torch.optim.SGD([torch.zeros(1)]), num_bins=60)


def test_scalars_are_the_quantiles_and_the_share_bound_by_epsilon_under_the_names_tag():
    histogram = Log10Histogram(bin_edges=(-3.0, -1.0), counts=(4,))
    summary = LayerSummary(
        p05=0.001, p50=0.01, p95=0.1, eps_bound=0.25, log10_histogram=histogram, window_steps=20.0
    )
    assert summary.scalars("torso.0.weight") == {
        "effective_lr/torso.0.weight/p05": 0.001,
        "effective_lr/torso.0.weight/p50": 0.01,
        "effective_lr/torso.0.weight/p95": 0.1,
        "effective_lr_eps_bound/torso.0.weight": 0.25,
    }


def test_tensorboard_takes_the_histogram_with_sums_of_bin_centres_exact_in_float64():
    # In float32 the square of 0.1 would be wrong in the eighth digit.
    histogram = Log10Histogram(bin_edges=(-4.0, -3.0, -2.0, 2.2), counts=(5, 0, 2))
    raw = histogram.tensorboard()
    assert raw.pop("sum") == pytest.approx(5 * -3.5 + 2 * 0.1, rel=1e-15)
    assert raw.pop("sum_squares") == pytest.approx(5 * 12.25 + 2 * 0.01, rel=1e-15)
    assert raw == {
        "min": -4.0,
        "max": 2.2,
        "num": 7,
        "bucket_limits": [-3.0, -2.0, 2.2],
        "bucket_counts": [5, 0, 2],
    }


def test_an_empty_histogram_has_nothing_for_tensorboard():
    assert Log10Histogram(bin_edges=(-4.0, -3.0, -2.0), counts=(0, 0)).tensorboard() is None
