"""α is a memory of about 1 / (1 − α) steps: how the rate answers when gradients change scale.

v is an average in which a gradient k steps old weighs αᵏ. After the scale of the gradients changes,
1 / (1 − α) steps bring v about 63 % of the way to its new value (for α near 1). The rate η / √v
falls fast when gradients grow, since large squares dominate the average at once, and rises slowly
when they shrink, since the old squares must first be forgotten. A shorter memory answers faster and
is noisier: with α near 0, v is the square of the last gradient, and every step has length η.

    python scripts/studies/memory_of_alpha.py --out docs/images
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from _common import Row, new_figure, parse_arguments, publish

from dqn.comparison.show.style import BLUE, GREEN, GREY, ORANGE
from rmsprop import RMSprop, effective_learning_rates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHAS = (0.99, 0.9, 0.1)
LR, EPS = 0.01, 1e-8
SCALE, GROWS_AT, SHRINKS_AT, NUM_STEPS = 10.0, 1000, 1500, 2500
"""Gradients are of size 1, of size SCALE from one step to the other, then of size 1 again."""
FIRST_DRAWN = 900


@dataclass(frozen=True)
class Trace:
    """The effective learning rate at every step, for gradients of one kind."""

    alpha: float
    gradients: str
    """"constant": of size 1 or SCALE; "noise 0": normal with that standard deviation, seed 0."""
    effective_lr: list[float]


def run(seeds: Sequence[int]) -> list[Trace]:
    """One parameter for every α and kind of gradient; every α sees the same gradients."""
    noise = [
        torch.randn(NUM_STEPS, generator=torch.Generator().manual_seed(seed)) for seed in seeds
    ]
    size = torch.ones(NUM_STEPS, 1, dtype=torch.float64)
    size[GROWS_AT:SHRINKS_AT] = SCALE
    gradients = size * torch.stack([torch.ones(NUM_STEPS), *noise], dim=1)  # [steps, kinds]
    kinds = ["constant", *(f"noise {seed}" for seed in seeds)]
    thetas = [torch.zeros(len(kinds), dtype=torch.float64, requires_grad=True) for _ in ALPHAS]
    groups = [
        {"params": [(str(alpha), theta)], "alpha": alpha}
        for alpha, theta in zip(ALPHAS, thetas, strict=True)
    ]
    optimizer = RMSprop(groups, lr=LR, eps=EPS, fused=False)
    rates = []
    for gradient in gradients:
        for theta in thetas:
            theta.grad = gradient
        optimizer.step()
        rates.append(torch.stack(list(effective_learning_rates(optimizer).values())))
    history = torch.stack(rates)  # [steps, alphas, kinds]
    return [
        Trace(alpha, kind, history[:, i, j].tolist())
        for i, alpha in enumerate(ALPHAS)
        for j, kind in enumerate(kinds)
    ]


def steps_to_settle(trace: Trace, changed_at: int, target: float) -> int:
    """Steps after the change until the rate is within 10 % of ``target``."""
    after = trace.effective_lr[changed_at:]
    return next(k for k, rate in enumerate(after, 1) if target / 1.1 <= rate <= target * 1.1)


def spread(trace: Trace) -> float:
    """95th over 5th percentile of the rate while the scale of the gradients is steady."""
    steady = torch.tensor(trace.effective_lr[GROWS_AT // 2 : GROWS_AT])
    low, high = torch.quantile(steady, torch.tensor([0.05, 0.95])).tolist()
    return float(high / low)


def table(traces: Sequence[Trace]) -> list[Row]:
    """One row for each α; the spread under noise is the median over the seeds."""
    rows: list[Row] = []
    for alpha in ALPHAS:
        constant, *noisy = (trace for trace in traces if trace.alpha == alpha)
        rows.append(
            {
                "α": str(alpha),
                "1/(1−α)": round(1 / (1 - alpha), 1),
                "steps to fall (×10)": steps_to_settle(constant, GROWS_AT, LR / SCALE),
                "steps to rise (÷10)": steps_to_settle(constant, SHRINKS_AT, LR),
                "p95/p05 under noise": statistics.median(map(spread, noisy)),
            }
        )
    return rows


def data(traces: Sequence[Trace]) -> list[Row]:
    """What the picture shows of constant gradients and of the first seed, every fifth step."""
    return [
        {"alpha": t.alpha, "gradients": t.gradients, "step": step, "effective_lr": rate}
        for t in _drawn(traces)
        for step, rate in enumerate(t.effective_lr, 1)
        if step >= FIRST_DRAWN and step % 5 == 0
    ]


def _drawn(traces: Sequence[Trace]) -> list[Trace]:
    kinds = list(dict.fromkeys(trace.gradients for trace in traces))[:2]
    return [trace for trace in traces if trace.gradients in kinds]


def draw(traces: Sequence[Trace]) -> Figure:
    figure = new_figure(10, 5.6, "α is a memory of 1 / (1 − α) steps   (η = 0.01, ε = 1e-8)")
    panels = figure.subplots(2, 1, sharex=True)
    titles = ("Gradients of constant size 1, then 10, then 1", "Gradients with noise of that size")
    colours = dict(zip(ALPHAS, (BLUE, ORANGE, GREEN), strict=True))
    for ax, noisy, title in zip(panels, (False, True), titles, strict=True):
        # The shortest memory is the noisiest: drawn first, behind the others.
        for trace in sorted(_drawn(traces), key=lambda t: t.alpha):
            if noisy == (trace.gradients == "constant"):
                continue
            is_short = trace.alpha == min(ALPHAS)
            ax.plot(
                range(1, NUM_STEPS + 1),
                trace.effective_lr,
                color=colours[trace.alpha],
                linewidth=0.7 if noisy and is_short else 2,
                alpha=0.5 if noisy and is_short else 1,
                label=f"α = {trace.alpha}: window {1 / (1 - trace.alpha):.3g}",
            )
        ax.axvspan(GROWS_AT, SHRINKS_AT, color=GREY, alpha=0.12, linewidth=0)
        ax.set(yscale="log", xlim=(FIRST_DRAWN, NUM_STEPS), ylabel="η / (√v + ε)")
        ax.set_title(title)
    window = 1 / (1 - ALPHAS[0])
    y = 0.02
    panels[0].set_ylim(7e-4, 0.03)
    for start in (GROWS_AT, SHRINKS_AT):
        panels[0].plot([start, start + window], [y, y], color=BLUE, linewidth=4)
        panels[0].text(start + window + 10, y, "100 steps", color=BLUE, va="center")
    panels[0].text(1250, 5e-3, "gradients ten times larger", color=GREY, ha="center")
    panels[0].legend(loc="lower right", reverse=True)
    panels[1].set(xlabel="step", ylim=(3e-4, 1))
    return figure


def main() -> None:
    arguments = parse_arguments(__doc__, seeds=range(5))
    traces = run(arguments.seeds)
    publish(arguments.out, "memory_of_alpha", table(traces), data(traces), lambda: draw(traces))


if __name__ == "__main__":
    main()
