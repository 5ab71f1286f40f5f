"""How the effective learning rates of a layer are spread: quantiles, ε's share, a histogram.

:mod:`rmsprop.effective_lr` defines the rates; here they are summed up in one pass, cheaply enough
to log while training, and put into the form that TensorBoard takes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor
from torch.optim import Optimizer

from rmsprop.effective_lr import Rate, parameter_rates

_FINE_BINS = 4096
_PIECE = 2**16  # 256 KiB of float32


class RawHistogram(TypedDict):
    """What TensorBoard's ``SummaryWriter.add_histogram_raw`` takes beside a tag and a step."""

    min: float
    max: float
    num: int
    sum: float
    sum_squares: float
    bucket_limits: list[float]
    bucket_counts: list[int]


@dataclass(frozen=True, slots=True)
class Log10Histogram:
    """Counts of log10(effective learning rate) in bins of equal width.

    Attributes:
        bin_edges: ``num_bins + 1`` ascending edges.
        counts: ``num_bins`` counts; they add up to the number of elements with a finite, positive
            rate.

    >>> Log10Histogram(bin_edges=(-4.0, -3.0, -2.0), counts=(1, 3))  # one rate in [1e-4, 1e-3)
    Log10Histogram(bin_edges=(-4.0, -3.0, -2.0), counts=(1, 3))
    """

    bin_edges: tuple[float, ...]
    counts: tuple[int, ...]

    def tensorboard(self) -> RawHistogram | None:
        """The histogram as TensorBoard takes it; sums are those of the bins' centres.

        None if it is empty. Its edges are arbitrary then, and there is nothing to draw.

        >>> raw = Log10Histogram(bin_edges=(-4.0, -3.0, -2.0), counts=(1, 3)).tensorboard()
        >>> raw["min"], raw["max"], raw["num"], raw["sum"], raw["sum_squares"]
        (-4.0, -2.0, 4, -11.0, 31.0)
        >>> raw["bucket_limits"], raw["bucket_counts"]
        ([-3.0, -2.0], [1, 3])
        """
        num = sum(self.counts)
        if num == 0:
            return None
        centres = [(low + high) / 2 for low, high in itertools.pairwise(self.bin_edges)]
        weighted = list(zip(centres, self.counts, strict=True))
        return RawHistogram(
            min=self.bin_edges[0],
            max=self.bin_edges[-1],
            num=num,
            sum=sum(centre * count for centre, count in weighted),
            sum_squares=sum(centre**2 * count for centre, count in weighted),
            bucket_limits=list(self.bin_edges[1:]),
            bucket_counts=list(self.counts),
        )


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """How the effective learning rates of one parameter are spread.

    Attributes:
        p05, p50, p95: quantiles of the rates that are finite and positive; NaN if none is. They
            come from a histogram of log10 with 4096 bins between the smallest and the largest
            rate, so log10 of a quantile is off by at most one bin: a rate spread over four
            decades gives quantiles within 0.23 %.
        eps_bound: share of elements where ε outweighs the root (√q < ε, or q < ε when ε stands
            inside). Near 1, the optimizer is SGD with rate η / ε (η / √ε). 0 for SGD.
        log10_histogram: counts of log10(rate).
        window_steps: 1 / (1 − α), the steps that the average of squared gradients remembers (β₂ in
            Adam takes the place of α). Infinite for Adagrad and α = 1, which forget nothing; 0 for
            SGD, which remembers nothing.

    >>> from rmsprop import RMSprop
    >>> optimizer = RMSprop([("theta", torch.zeros(4))], lr=1e-2, alpha=0.95)
    >>> optimizer.param_groups[0]["params"][0].grad = torch.ones(4)
    >>> optimizer.step()
    >>> summary = effective_learning_rate_summaries(optimizer)["theta"]
    >>> round(summary.window_steps), round(summary.p50, 4)  # 0.01 / sqrt(0.05)
    (20, 0.0447)
    """

    p05: float
    p50: float
    p95: float
    eps_bound: float
    log10_histogram: Log10Histogram
    window_steps: float

    def scalars(self, name: str) -> dict[str, float]:
        """The quantiles and ε's share by TensorBoard tag, for the parameter ``name``.

        >>> histogram = Log10Histogram(bin_edges=(-3.0, -2.0, -1.0), counts=(1, 3))
        >>> summary = LayerSummary(0.001, 0.01, 0.1, 0.25, histogram, window_steps=20.0)
        >>> for tag, value in summary.scalars("w").items():
        ...     print(tag, value)
        effective_lr/w/p05 0.001
        effective_lr/w/p50 0.01
        effective_lr/w/p95 0.1
        effective_lr_eps_bound/w 0.25
        """
        return {
            f"effective_lr/{name}/p05": self.p05,
            f"effective_lr/{name}/p50": self.p50,
            f"effective_lr/{name}/p95": self.p95,
            f"effective_lr_eps_bound/{name}": self.eps_bound,
        }


def effective_learning_rate_summaries(
    optimizer: Optimizer, *, num_bins: int = 64
) -> dict[str, LayerSummary]:
    """Quantiles, share bound by ε and a histogram of the rates of every parameter, in one pass.

    Cheap enough to log while training: some ten milliseconds for the 1.7 M parameters of the
    Nature DQN network on one core.

    Args:
        optimizer: as for :func:`effective_learning_rates`.
        num_bins: bins of the histogram, a divisor of 4096.

    Returns:
        Parameter name -> summary, named and left out as in :func:`effective_learning_rates`. The
        parts of a complex parameter count as elements.

    Raises:
        TypeError: for another optimizer.
        ValueError: if ``num_bins`` does not divide 4096.

    >>> from rmsprop import RMSprop
    >>> theta = torch.nn.Parameter(torch.zeros(1000))
    >>> optimizer = RMSprop([("theta", theta)], lr=1e-2, alpha=0.0, eps=1e-8)
    >>> theta.grad = torch.logspace(0, 2, 1000)  # rates from 1e-2 down to 1e-4
    >>> optimizer.step()
    >>> summary = effective_learning_rate_summaries(optimizer, num_bins=4)["theta"]
    >>> round(math.log10(summary.p50), 2), summary.log10_histogram.counts
    (-3.0, (250, 250, 250, 250))
    """
    if num_bins < 1 or _FINE_BINS % num_bins != 0:
        raise ValueError(f"num_bins must divide {_FINE_BINS}, got {num_bins}")
    with torch.no_grad():
        return {name: _summary(rate, num_bins) for name, _, rate in parameter_rates(optimizer)}


def _summary(rate: Rate, num_bins: int) -> LayerSummary:
    num_elements = rate.square.numel()
    log10_rates = torch.empty(num_elements, device=rate.square.device)
    num_eps_bound, begin = 0, 0
    # Pieces stay in cache. Whole temporaries would cost five times as much, in page faults.
    for piece in rate.pieces(_PIECE if rate.square.is_cpu else max(num_elements, 1)):
        denominator = piece.denominator()
        end = begin + denominator.numel()
        num_eps_bound += int(torch.count_nonzero(denominator < rate.eps_bound_below()))
        log10_rates[begin:end] = denominator.float().log10_().neg_()
        begin = end
    log10_rates += math.log10(rate.lr) if rate.lr > 0 else -math.inf
    lowest, highest, counts = _fine_histogram(log10_rates)
    p05, p50, p95 = (
        0.0 if rate.lr == 0 else 10 ** _quantile(counts, share, lowest, highest)
        for share in (0.05, 0.50, 0.95)
    )
    # A single value gets a range of width 1 around it, as in numpy.histogram.
    margin = 0.5 if lowest == highest else 0.0
    edges = torch.linspace(lowest - margin, highest + margin, num_bins + 1, dtype=torch.float64)
    return LayerSummary(
        p05=p05,
        p50=p50,
        p95=p95,
        eps_bound=num_eps_bound / num_elements if num_elements > 0 else 0.0,
        log10_histogram=Log10Histogram(
            bin_edges=tuple(edges.tolist()),
            counts=tuple(counts.view(num_bins, -1).sum(1).tolist()),
        ),
        window_steps=rate.window_steps,
    )


def _fine_histogram(values: Tensor) -> tuple[float, float, Tensor]:
    """Bounds of the finite values and their counts in ``_FINE_BINS`` bins, on the CPU.

    Overwrites ``values``.
    """
    counts = torch.zeros(_FINE_BINS, dtype=torch.int64)
    lowest, highest = _bounds(values)
    if not math.isfinite(lowest) or not math.isfinite(highest):
        values = values[values.isfinite()]
        lowest, highest = _bounds(values)
    if lowest == highest:
        counts[_FINE_BINS // 2] = values.numel()
        return lowest, highest, counts
    # This is faster than torch.histc. The largest value falls on the last edge, into a bin of its
    # own, which is added to the last one below.
    bins = values.sub_(lowest).mul_(_FINE_BINS / (highest - lowest)).to(torch.int32)
    counts = torch.bincount(bins, minlength=_FINE_BINS + 1).cpu()
    counts[_FINE_BINS - 1] += counts[_FINE_BINS:].sum()
    return lowest, highest, counts[:_FINE_BINS]


def _bounds(values: Tensor) -> tuple[float, float]:
    if values.numel() == 0:
        return 0.0, 0.0
    lowest, highest = torch.stack(values.aminmax()).tolist()
    return lowest, highest


def _quantile(counts: Tensor, share: float, lowest: float, highest: float) -> float:
    """The value below which ``share`` of the counts lie, interpolated within its bin."""
    cumulative = counts.cumsum(0)
    rank = share * cumulative[-1].item()
    if rank == 0:
        return math.nan
    index = int(torch.searchsorted(cumulative, rank))
    below = cumulative[index - 1].item() if index > 0 else 0
    position = index + (rank - below) / counts[index].item()
    return lowest + position / _FINE_BINS * (highest - lowest)
