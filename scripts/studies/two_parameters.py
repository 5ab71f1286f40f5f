"""Two parameters, one with gradients of 10, one with gradients of 0.01: RMSprop step by step.

With a steady gradient g and v started at 0, v after t steps is (1 − αᵗ) g², so the effective
learning rate is η / (|g| √(1 − αᵗ)): a thousand times larger for the parameter whose gradient is a
thousand times smaller. The steps of both are equal, and tend to η. SGD's stay a thousandfold apart.

    python scripts/studies/two_parameters.py --out docs/images
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from _common import Row, new_figure, parse_arguments, publish

from dqn.comparison.show.style import BLUE, ORANGE
from rmsprop import RMSprop, effective_learning_rates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRADIENTS = (10.0, 0.01)
LR, ALPHA, EPS = 0.01, 0.9, 1e-8


@dataclass(frozen=True)
class Step:
    """What one optimizer step did to one parameter."""

    step: int
    gradient: float
    square_avg: float
    effective_lr: float
    rmsprop_moved: float
    """Distance moved since the start by RMSprop, lr · g / (√square_avg + ε) at each step."""
    sgd_moved: float
    """Distance moved since the start by SGD, lr · g at each step."""


def run(num_steps: int = 50) -> list[Step]:
    """Both parameters from 0, ``num_steps`` steps, in float64; a row a step and parameter."""
    gradients = torch.tensor(GRADIENTS, dtype=torch.float64)
    by_rmsprop = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    by_sgd = by_rmsprop.detach().clone().requires_grad_()
    rmsprop = RMSprop([("theta", by_rmsprop)], lr=LR, alpha=ALPHA, eps=EPS, fused=False)
    sgd = torch.optim.SGD([by_sgd], lr=LR)
    by_rmsprop.grad, by_sgd.grad = gradients.clone(), gradients.clone()
    steps = []
    for number in range(1, num_steps + 1):
        rmsprop.step()
        sgd.step()
        columns = zip(
            gradients.tolist(),
            rmsprop.state[by_rmsprop]["square_avg"].tolist(),
            effective_learning_rates(rmsprop)["theta"].tolist(),
            (-by_rmsprop).tolist(),
            (-by_sgd).tolist(),
            strict=True,
        )
        steps.extend(Step(number, *column) for column in columns)
    return steps


def table(steps: Sequence[Step]) -> list[Row]:
    """The two parameters side by side, one row a step."""
    rows: list[Row] = []
    for large, small in zip(steps[::2], steps[1::2], strict=True):
        row: Row = {"step": large.step}
        for name, step in (("g=10", large), ("g=0.01", small)):
            row[f"v ({name})"] = step.square_avg
            row[f"effective lr ({name})"] = step.effective_lr
            row[f"moved ({name})"] = step.rmsprop_moved
            row[f"SGD moved ({name})"] = step.sgd_moved
        rows.append(row)
    return rows


def draw(steps: Sequence[Step]) -> Figure:
    figure = new_figure(
        10, 4.2, "Two parameters, gradients of 10 and 0.01   (η = 0.01, α = 0.9, ε = 1e-8)"
    )
    rates, distances = figure.subplots(1, 2)
    large, small = steps[::2], steps[1::2]
    numbers = [step.step for step in large]

    for curve, colour, gradient in ((small, BLUE, "0.01"), (large, ORANGE, "10")):
        rates.plot(numbers, [step.effective_lr for step in curve], color=colour)
        limit = LR / float(gradient)
        rates.axhline(limit, color=colour, linestyle=":", linewidth=1.2)
        text = f"gradient {gradient}: tends to η / {gradient} = {limit:g}"
        rates.text(50, limit * 0.8, text, color=colour, ha="right", va="top")
    rates.set(yscale="log", ylim=(3e-4, 6), xlabel="step", ylabel="η / (√v + ε)")
    rates.set_title("Effective learning rates: 1000 apart")

    distances.plot(
        numbers, [s.rmsprop_moved for s in large], color="black", linewidth=5, alpha=0.25
    )
    distances.plot(numbers, [s.rmsprop_moved for s in small], color="black", linestyle="--")
    distances.plot(numbers, [s.sgd_moved for s in large], color=ORANGE)
    distances.plot(numbers, [s.sgd_moved for s in small], color=BLUE)
    distances.text(50, 2.0, "SGD, gradient 10", color=ORANGE, ha="right", va="top")
    distances.text(50, 0.28, "RMSprop, both parameters", ha="right", va="top")
    distances.text(50, 2.4e-3, "SGD, gradient 0.01", color=BLUE, ha="right", va="top")
    distances.set(yscale="log", xlabel="step", ylabel="distance moved, |θ − θ₀|")
    distances.set_title("Distance moved: equal")
    return figure


def main() -> None:
    out = parse_arguments(__doc__).out
    steps = run()
    publish(out, "two_parameters", table(steps[:20]), table(steps), lambda: draw(steps))


if __name__ == "__main__":
    main()
