"""Steady gradients and ``centered=True``: PyTorch's RMSprop turns NaN, ours does not.

The centred rule divides by the standard deviation √(v − m²) of the gradient. With a steady gradient
g it is |g| √(αᵗ (1 − αᵗ)), which tends to 0: so the steps grow without bound in exact arithmetic
too, and only ε limits them. In floating point v − m² ends in rounding noise around 0, often
below: the root is NaN, and so is the parameter ever after. rmsprop.RMSprop clamps the variance at
0. That removes the NaN, not the long steps: for those ε must be of some size, like the 0.01 inside
the root of DeepMind's DQN.

    python scripts/studies/centered_nan.py --out docs/images
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from _common import Row, new_figure, parse_arguments, publish
from torch import Tensor

from dqn.comparison.show.style import BLUE, GREY, ORANGE, PINK
from rmsprop import RMSprop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LR, ALPHA = 1e-3, 0.95
NUM_PARAMETERS, NUM_STEPS = 10_000, 1500
TORCH_32, TORCH_64 = "torch.optim, float32", "torch.optim, float64"
OURS, OURS_INSIDE = "rmsprop, float32", "rmsprop, float32, ε = 0.01 inside"


@dataclass(frozen=True)
class Trace:
    """What steady gradients make of 10,000 parameters, at every step."""

    optimizer: str
    nan_share: list[float]
    """Share of the parameters that are NaN."""
    median_step: list[float]
    """Median of |Δθ| / η over the parameters that are not NaN."""

    @property
    def first_nan(self) -> int | None:
        """The first step after which a parameter is NaN, or None."""
        return next((t for t, share in enumerate(self.nan_share, 1) if share > 0), None)


def run(seed: int, num_steps: int = NUM_STEPS) -> list[Trace]:
    """Four optimizers on the same gradients: normal, drawn once, the same at every step."""
    gradients = torch.randn(NUM_PARAMETERS, generator=torch.Generator().manual_seed(seed))
    thetas = {
        name: torch.zeros(NUM_PARAMETERS, dtype=dtype, requires_grad=True)
        for name, dtype in (
            (TORCH_32, torch.float32),
            (TORCH_64, torch.float64),
            (OURS, torch.float32),
            (OURS_INSIDE, torch.float32),
        )
    }
    return [
        _trace(name, _optimizer(name, theta), theta, gradients.to(theta.dtype), num_steps)
        for name, theta in thetas.items()
    ]


def _optimizer(name: str, theta: Tensor) -> torch.optim.Optimizer:
    if name in (TORCH_32, TORCH_64):
        return torch.optim.RMSprop([theta], lr=LR, alpha=ALPHA, eps=1e-8, centered=True)
    inside = name == OURS_INSIDE
    return RMSprop(
        [theta],
        lr=LR,
        alpha=ALPHA,
        eps=0.01 if inside else 1e-8,
        eps_inside_sqrt=inside,
        centered=True,
        fused=False,
    )


def _trace(
    name: str, optimizer: torch.optim.Optimizer, theta: Tensor, gradients: Tensor, num_steps: int
) -> Trace:
    theta.grad = gradients
    nan_share, median_step = [], []
    for _ in range(num_steps):
        before = theta.detach().clone()
        optimizer.step()
        nan_share.append(theta.isnan().double().mean().item())
        median_step.append((theta.detach() - before).abs().nanmedian().item() / LR)
    return Trace(name, nan_share, median_step)


def exact_step(step: int) -> float:
    """|Δθ| / η in exact arithmetic without ε: 1 / √(αᵗ (1 − αᵗ)).

    >>> round(exact_step(1), 3)  # 1 / sqrt(0.95 * 0.05)
    4.588
    """
    weight = ALPHA**step
    return 1 / math.sqrt(weight * (1 - weight))


def table(traces: Sequence[Trace]) -> list[Row]:
    rows: list[Row] = []
    for trace in traces:
        row: Row = {"optimizer": trace.optimizer, "first NaN at step": str(trace.first_nan or "-")}
        row["NaN at the end"] = f"{trace.nan_share[-1]:.1%}"
        for step in (10, 100, 200, len(trace.median_step)):
            row[f"|Δθ|/η, step {step}"] = trace.median_step[step - 1]
        rows.append(row)
    exact: Row = {"optimizer": "exact arithmetic, ε = 0", "first NaN at step": "-"}
    exact["NaN at the end"] = "0.0%"
    for step in (10, 100, 200, len(traces[0].median_step)):
        exact[f"|Δθ|/η, step {step}"] = exact_step(step)
    return [*rows, exact]


def data(traces: Sequence[Trace]) -> list[Row]:
    """Every fifth step."""
    return [
        {
            "optimizer": t.optimizer,
            "step": step,
            "nan_share": t.nan_share[step - 1],
            "median_step_over_lr": t.median_step[step - 1],
        }
        for t in traces
        for step in (1, *range(5, len(t.nan_share) + 1, 5))
    ]


def draw(traces: Sequence[Trace]) -> Figure:
    figure = new_figure(
        10,
        4.4,
        "centered=True on steady gradients   (η = 0.001, α = 0.95, ε = 1e-8 outside the root)",
    )
    shares, lengths = figure.subplots(1, 2)
    styles = {
        TORCH_32: (ORANGE, "-"),
        TORCH_64: (PINK, "-."),
        OURS: (BLUE, "--"),
        OURS_INSIDE: ("black", ":"),
    }
    num_steps = len(traces[0].nan_share)
    steps = range(1, num_steps + 1)
    for trace in traces:
        colour, line = styles[trace.optimizer]
        if trace.optimizer != OURS_INSIDE:
            percent = [100 * share for share in trace.nan_share]
            first = f", first at step {trace.first_nan}" if trace.first_nan else ", never"
            shares.plot(steps, percent, line, color=colour)
            label = f"{trace.optimizer}{first}"
            shares.text(num_steps, percent[-1] + 0.4, label, color=colour, ha="right")
        if trace.optimizer != TORCH_32:
            lengths.plot(steps, trace.median_step, line, color=colour)
            height = trace.median_step[-1] * 1.4
            lengths.text(num_steps, height, trace.optimizer, color=colour, ha="right")
    shares.set(xlabel="step", ylabel="parameters that are NaN, %")
    shares.set_title("The variance rounds below zero")

    exact = [exact_step(step) for step in steps if step <= 700]
    lengths.plot(range(1, len(exact) + 1), exact, color=GREY, linewidth=6, alpha=0.3, zorder=0)
    lengths.text(430, 3e5, "exact, ε = 0", color=GREY, ha="right")
    lengths.set(xlabel="step", ylabel="median step length |Δθ| / η", yscale="log")
    lengths.set_title("Only ε bounds the steps")
    return figure


def main() -> None:
    out = parse_arguments(__doc__).out
    traces = run(seed=0)
    publish(out, "centered_nan", table(traces), data(traces), lambda: draw(traces))


if __name__ == "__main__":
    main()
