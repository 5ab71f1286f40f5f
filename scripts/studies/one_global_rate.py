"""Frequent and rare features: no learning rate of SGD suits both kinds, some of RMSprop do.

Linear regression on features that are present (1) or absent (0) like the words of a text: ten in
every second example, ten in one of a thousand. The weights to find are ±1; labels have no noise.
The expected gradient of a weight is in proportion to how often its feature occurs, so SGD moves
rare weights 500 times more slowly, and the frequent ones forbid a larger rate. RMSprop divides by
the root mean square of the gradients, which is small for a rare feature too.

    python scripts/studies/one_global_rate.py --out docs/images
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from _common import COLOURS, Row, new_figure, parse_arguments, publish
from torch import Tensor

from dqn.comparison.show.style import GREY
from rmsprop import RMSprop

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_FEATURES = 10  # of each kind
FREQUENT, RARE = 0.5, 0.001
BATCH_SIZE, NUM_STEPS = 32, 1000
ALPHA, EPS = 0.99, 1e-8
LEARNING_RATES: Mapping[str, Sequence[float]] = {
    "SGD": (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0),
    "RMSprop": (3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2, 3e-2, 1e-1),
}


@dataclass(frozen=True)
class Outcome:
    """Mean |w − w*| of both kinds of weights at the end; 1 at the start, infinite if diverged."""

    optimizer: str
    lr: float
    seed: int
    frequent_error: float
    rare_error: float


def run(seeds: Sequence[int], num_steps: int = NUM_STEPS) -> list[Outcome]:
    """Every learning rate of both optimizers, for every seed on the same batches."""
    return [
        outcome
        for optimizer, rates in LEARNING_RATES.items()
        for seed in seeds
        for outcome in _train(optimizer, rates, seed, num_steps)
    ]


def _train(name: str, rates: Sequence[float], seed: int, num_steps: int) -> list[Outcome]:
    generator = torch.Generator().manual_seed(seed)
    presence = torch.tensor([FREQUENT, RARE]).repeat_interleave(NUM_FEATURES)  # [features]
    true_weights = torch.randint(0, 2, (2 * NUM_FEATURES,), generator=generator) * 2.0 - 1
    weights = [torch.zeros(2 * NUM_FEATURES, requires_grad=True) for _ in rates]
    # A group for each learning rate: all are trained at once, on the same batches.
    optimizer = _optimizer(name, weights, rates)
    for _ in range(num_steps):
        x = (torch.rand(BATCH_SIZE, 2 * NUM_FEATURES, generator=generator) < presence).float()
        error = (torch.stack(weights).detach() - true_weights) @ x.T  # [rates, batch]
        for weight, gradient in zip(weights, error @ x / BATCH_SIZE, strict=True):
            weight.grad = gradient
        optimizer.step()
    outcomes = []
    for lr, weight in zip(rates, weights, strict=True):
        distance = (weight.detach() - true_weights).abs().nan_to_num(nan=math.inf)
        frequent, rare = distance.view(2, NUM_FEATURES).mean(dim=1).tolist()
        outcomes.append(Outcome(name, lr, seed, frequent, rare))
    return outcomes


def _optimizer(
    name: str, weights: Sequence[Tensor], rates: Sequence[float]
) -> torch.optim.Optimizer:
    groups = [{"params": [w], "lr": lr} for w, lr in zip(weights, rates, strict=True)]
    if name == "SGD":
        return torch.optim.SGD(groups)
    return RMSprop(groups, alpha=ALPHA, eps=EPS, fused=False)


def table(outcomes: Sequence[Outcome]) -> list[Row]:
    """Medians over the seeds, one row for each optimizer and learning rate."""
    rows: list[Row] = []
    for name, rates in LEARNING_RATES.items():
        for lr in rates:
            own = [o for o in outcomes if (o.optimizer, o.lr) == (name, lr)]
            frequent = statistics.median(o.frequent_error for o in own)
            rare = statistics.median(o.rare_error for o in own)
            row: Row = {"optimizer": name, "lr": lr}
            rows.append(
                row
                | {"frequent error": frequent, "rare error": rare, "larger": max(frequent, rare)}
            )
    return rows


def data(outcomes: Sequence[Outcome]) -> list[Row]:
    return [vars(outcome).copy() for outcome in outcomes]


def draw(outcomes: Sequence[Outcome]) -> Figure:
    figure = new_figure(
        10, 4.4, f"One global rate is a compromise: {NUM_STEPS} steps, {BATCH_SIZE} examples each"
    )
    axes = figure.subplots(1, 2, sharey=True)
    titles = ("SGD: one rate for all", f"RMSprop (α = {ALPHA}, ε = 1e-8)")
    for ax, name, title in zip(axes, LEARNING_RATES, titles, strict=True):
        _draw_optimizer(ax, [o for o in outcomes if o.optimizer == name], COLOURS[name])
        ax.set(xlabel="learning rate η", xscale="log", yscale="log", ylim=(5e-5, 3))
        ax.set_title(title)
        ax.axhline(1, color=GREY, linestyle=":", linewidth=1.2)
    axes[0].set_ylabel("error of the weights, mean |w − w*|")
    axes[0].text(0.01, 1.2, "where all weights start", color=GREY)
    axes[0].legend(loc="lower left")
    axes[1].legend(loc="lower left")
    return figure


def _draw_optimizer(ax: Axes, outcomes: Sequence[Outcome], colour: str) -> None:
    rates = sorted({o.lr for o in outcomes})
    by_rate = [[o for o in outcomes if o.lr == lr] for lr in rates]
    kinds = (
        ("rare_error", f"rare features (in {RARE:.1%} of the examples)", "-", "o"),
        ("frequent_error", f"frequent features ({FREQUENT:.0%})", "--", "s"),
    )
    for kind, label, line, marker in kinds:
        errors = [sorted(getattr(o, kind) for o in own) for own in by_rate]
        kept = [(lr, e) for lr, e in zip(rates, errors, strict=True) if math.isfinite(e[-1])]
        xs = [lr for lr, _ in kept]
        ax.fill_between(
            xs, [e[0] for _, e in kept], [e[-1] for _, e in kept], color=colour, alpha=0.2, lw=0
        )
        medians = [statistics.median(e) for _, e in kept]
        ax.plot(xs, medians, color=colour, linestyle=line, marker=marker, ms=5, label=label)
    diverged = [
        lr for lr, own in zip(rates, by_rate, strict=True) if any(o.rare_error > 10 for o in own)
    ]
    if diverged:
        ax.axvspan(min(diverged), max(diverged), color=GREY, alpha=0.15, lw=0)
        middle = math.sqrt(min(diverged) * max(diverged))
        ax.text(middle, 1e-2, "diverges", color=GREY, rotation=90, ha="center", va="center")


def main() -> None:
    arguments = parse_arguments(__doc__, seeds=range(5))
    outcomes = run(arguments.seeds)
    publish(
        arguments.out, "one_global_rate", table(outcomes), data(outcomes), lambda: draw(outcomes)
    )


if __name__ == "__main__":
    main()
