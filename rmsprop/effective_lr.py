"""Effective learning rates: what an adaptive optimizer really multiplies each gradient by.

Reads the state of an optimizer, never writes it. The definition, elementwise:

=============== ==================================== ==========================================
optimizer       effective learning rate              multiplies
=============== ==================================== ==========================================
RMSprop         η / (√q + ε)  or  η / √(q + ε)       the gradient
Adagrad         η_t / (√sum + ε)  or  η_t / √(sum + ε) the gradient
Adam, AdamW     η / (√v̂ + ε)                         the bias-corrected first moment m̂
SGD             η                                    the gradient
=============== ==================================== ==========================================

q is ``square_avg``, max(``square_avg`` − ``grad_avg``², 0) when centred, bias-corrected where the
optimizer does so; η_t is Adagrad's decayed learning rate; v̂ is the corrected second moment, or its
running maximum with ``amsgrad``. Rates are those of the last step taken, with the learning rate the
group holds now. Heavy-ball momentum is left out: with a steady gradient it multiplies the step by
1 / (1 − μ) in the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer
from torch.optim import Adagrad as TorchAdagrad
from torch.optim import RMSprop as TorchRMSprop

from rmsprop.adagrad import Adagrad
from rmsprop.base import Group
from rmsprop.optimizer import RMSprop
from rmsprop.rule import (
    Scalar,
    bias_correction_at,
    decayed_learning_rate,
    rmsprop_denominator,
)


@dataclass(frozen=True, slots=True)
class _Rate:
    """What the effective rate of one parameter is computed from."""

    lr: float
    square: Tensor
    mean: Tensor | None = None
    eps: float = 0.0
    eps_inside_sqrt: bool = False
    bias_correction: Scalar | None = None
    window_steps: float = 0.0

    def denominator(self) -> Tensor:
        return rmsprop_denominator(
            self.square,
            self.mean,
            eps=self.eps,
            eps_inside_sqrt=self.eps_inside_sqrt,
            bias_correction=self.bias_correction,
        )

    def eps_bound_below(self) -> float:
        """Where the denominator is smaller than this, ε outweighs the root."""
        # √q < ε is √q + ε < 2 ε, and q < ε is √(q + ε) < √(2 ε).
        return math.sqrt(2 * self.eps) if self.eps_inside_sqrt else 2 * self.eps

    def pieces(self, size: int) -> Iterator[_Rate]:
        """The rate of ``size`` elements at a time, in any order."""
        square = self.square.flatten()
        mean = None if self.mean is None else self.mean.flatten()
        for begin in range(0, square.numel(), size):
            part = slice(begin, begin + size)
            yield replace(self, square=square[part], mean=None if mean is None else mean[part])


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


def effective_learning_rates(optimizer: Optimizer) -> dict[str, Tensor]:
    """The effective learning rate of every element of every parameter.

    Args:
        optimizer: :class:`rmsprop.RMSprop` or :class:`rmsprop.Adagrad`, or RMSprop, Adagrad, Adam,
            AdamW or SGD of torch.optim.

    Returns:
        Parameter name -> new tensor with the parameter's shape, device and dtype. Names are those
        given to the optimizer with ``named_parameters()``, else ``"group.index"``: ``"0.2"`` is the
        third parameter of the first group. A parameter without state (none of its gradients has
        been used yet) has no rate and is left out; SGD's rate needs no state. A complex parameter's
        rate is complex: the rate of the real part and, as imaginary part, that of the imaginary.

    Raises:
        TypeError: for another optimizer.

    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> optimizer = RMSprop(model.named_parameters(), lr=0.01, alpha=0.9, eps=0.0)
    >>> model.weight.grad = torch.tensor([[10.0, 0.1]])
    >>> optimizer.step()  # square_avg = 0.1 g², so the rate is 0.01 / (sqrt(0.1) |g|)
    >>> effective_learning_rates(optimizer)["weight"]
    tensor([[0.0032, 0.3162]])
    """
    rates = {}
    with torch.no_grad():
        for name, param, rate in _rates(optimizer):
            elementwise = rate.lr / rate.denominator()
            rates[name] = torch.view_as_complex(elementwise) if param.is_complex() else elementwise
    return rates


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
        return {name: _summary(rate, num_bins) for name, _, rate in _rates(optimizer)}


def update_ratios(
    before: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
    after: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
) -> dict[str, float]:
    """‖Δθ‖ / ‖θ‖ of every parameter: how far a step moved it, relative to its size before.

    Args:
        before: name -> value before the step; a copy, since optimizers write in place.
        after: the same names after it (``model.named_parameters()`` will do).

    Returns:
        Name -> ratio; 0 where nothing moved, infinity where a zero parameter did.

    Raises:
        ValueError: if the names differ.

    >>> update_ratios({"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([3.0, 4.5])})
    {'w': 0.1}
    """
    before, after = dict(before), dict(after)
    if before.keys() != after.keys():
        raise ValueError(
            f"names differ before and after the step: {sorted(before.keys() ^ after.keys())}"
        )
    ratios = {}
    with torch.no_grad():
        for name, old in before.items():
            moved = torch.linalg.vector_norm(after[name] - old).item()
            size = torch.linalg.vector_norm(old).item()
            ratios[name] = moved / size if size > 0 else math.inf if moved > 0 else 0.0
    return ratios


_FINE_BINS = 4096
_PIECE = 2**16  # 256 KiB of float32


def parameter_names(optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Yield name and parameter, named as in :func:`effective_learning_rates`.

    >>> optimizer = SGD([torch.zeros(1), torch.zeros(2)])
    >>> [(name, len(param)) for name, param in parameter_names(optimizer)]
    [('0.0', 1), ('0.1', 2)]
    """
    for _, name, param in _groups_and_names(optimizer):
        yield name, param


def _groups_and_names(optimizer: Optimizer) -> Iterator[tuple[Group, str, Tensor]]:
    for group_index, group in enumerate(optimizer.param_groups):
        names = group.get("param_names")
        for index, param in enumerate(group["params"]):
            yield group, names[index] if names else f"{group_index}.{index}", param


def _rates(optimizer: Optimizer) -> Iterator[tuple[str, Tensor, _Rate]]:
    """Yield name, parameter and rate (of the real view, if complex) where there is a rate."""
    for group, name, param in _groups_and_names(optimizer):
        state = {
            key: torch.view_as_real(value) if value.is_complex() else value
            for key, value in optimizer.state.get(param, {}).items()
            if isinstance(value, Tensor)
        }
        rate = _rate(optimizer, group, param, state)
        if rate is not None:
            yield name, param, rate


def _rate(
    optimizer: Optimizer, group: Group, param: Tensor, state: Mapping[str, Tensor]
) -> _Rate | None:
    lr = float(group["lr"])
    if isinstance(optimizer, SGD):
        real = torch.view_as_real(param) if param.is_complex() else param
        return _Rate(lr, real.new_ones(()).expand(real.shape))
    if not isinstance(optimizer, RMSprop | TorchRMSprop | Adagrad | TorchAdagrad | Adam):
        raise TypeError(
            "effective learning rates are defined for RMSprop, Adagrad, Adam, AdamW and SGD, "
            f"got {type(optimizer).__name__}"
        )
    # torch.optim.Adagrad makes its state before the first step.
    if "step" not in state or state["step"] == 0:
        return None
    eps, eps_inside_sqrt = group["eps"], group.get("eps_inside_sqrt", False)
    correction: Scalar | None = None
    mean = None
    if isinstance(optimizer, Adam):
        square = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        decay = group["betas"][1]
        correction = bias_correction_at(state["step"], decay)
    elif isinstance(optimizer, Adagrad | TorchAdagrad):
        square, decay = state["sum"], 1.0
        lr = float(decayed_learning_rate(lr, group["lr_decay"], state["step"]))
    else:
        square, decay = state["square_avg"], group["alpha"]
        mean = state.get("grad_avg") if group["centered"] else None
        if group.get("bias_correction", False):
            correction = bias_correction_at(state["step"], decay)
    window_steps = 1 / (1 - decay) if decay < 1 else math.inf
    return _Rate(lr, square, mean, eps, eps_inside_sqrt, correction, window_steps)


def _summary(rate: _Rate, num_bins: int) -> LayerSummary:
    num_elements = rate.square.numel()
    log10_rates = torch.empty(num_elements, device=rate.square.device)
    num_eps_bound, begin = 0, 0
    # In pieces that stay in cache: whole temporaries would cost five times as much, in page faults.
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
    # As numpy.histogram, a bin of width 1 around a single value.
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
    # Faster than torch.histc. The largest value falls on the last edge: into a bin of its own.
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
