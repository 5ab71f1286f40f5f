"""What libraries mean by RMSprop: every dialect on the same gradients, at the same η.

Gradients are s · (1 + noise), for sizes s from 10 down to 1e-5. If ε were negligible and v settled,
every dialect without momentum would step by a fixed multiple of η whatever s is. They differ in
the start (v₀ = 0 makes long first steps, v₀ = 1 short ones), in ε (below some size of gradient
they become SGD), in momentum (0.9 makes steps ten times longer) and in whether the buffer
accumulates η · g / d or g / d, which shows when η changes.

    python scripts/studies/dialects_diverge.py --out docs/images
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from _common import Row, new_figure, parse_arguments, publish
from torch import Tensor

from dqn.comparison.show.style import BLUE, GREEN, ORANGE, PINK, YELLOW
from rmsprop import RMSprop, dialects

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LR = 1e-3
SIZES = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5)
NUM_STEPS, SETTLED_STEPS, NUM_PARAMETERS = 4000, 1000, 400
START_SIZE, START_STEPS = 0.01, 1000

DROP_AT, DROP_STEPS, DROP_FACTOR, MOMENTUM = 100, 150, 100.0, 0.9


@dataclass(frozen=True)
class Steps:
    """Mean of −Δθ / η over the parameters, at every step."""

    dialect: str
    size: float
    """Gradients have this mean and this standard deviation."""
    mean_step: list[float]

    @property
    def settled(self) -> float:
        """Mean over the last steps, when v has forgotten where it started."""
        last = self.mean_step[-SETTLED_STEPS:]
        return sum(last) / len(last)


@dataclass(frozen=True)
class Drop:
    """Step lengths of a momentum buffer, relative to the first η, when η falls a hundredfold."""

    lr_in_momentum: bool
    step_length: list[float]


def run(seed: int, num_steps: int = NUM_STEPS) -> list[Steps]:
    """Every dialect on the same gradients, 400 parameters of each size."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num_steps, NUM_PARAMETERS, generator=generator, dtype=torch.float64)
    sizes = torch.tensor(SIZES, dtype=torch.float64)[:, None]
    steps = []
    for name, options in dialects.items():
        theta = torch.zeros(len(SIZES), NUM_PARAMETERS, dtype=torch.float64, requires_grad=True)
        optimizer = RMSprop([theta], **options | {"lr": LR}, fused=False)
        means = [_step(optimizer, theta, sizes * (1 + row)).mean(dim=1) / LR for row in noise]
        for size, mean_step in zip(SIZES, torch.stack(means, dim=1).tolist(), strict=True):
            steps.append(Steps(name, size, mean_step))
    return steps


def run_drop() -> list[Drop]:
    """A steady gradient of 1, momentum 0.9, and η a hundred times smaller from DROP_AT on."""
    drops = []
    for lr_in_momentum in (False, True):
        theta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        # v starts settled, so that nothing but momentum and η shapes the steps.
        optimizer = RMSprop(
            [theta],
            lr=LR,
            eps=0.0,
            momentum=MOMENTUM,
            lr_in_momentum=lr_in_momentum,
            initial_square_avg=1.0,
            fused=False,
        )
        lengths = []
        for step in range(DROP_STEPS):
            if step == DROP_AT:
                optimizer.param_groups[0]["lr"] = LR / DROP_FACTOR
            lengths.append(_step(optimizer, theta, torch.ones_like(theta)).item() / LR)
        drops.append(Drop(lr_in_momentum, lengths))
    return drops


def _step(optimizer: RMSprop, theta: Tensor, gradient: Tensor) -> Tensor:
    """−Δθ of one step."""
    before = theta.detach().clone()
    theta.grad = gradient
    optimizer.step()
    return before - theta.detach()


def table(steps: Sequence[Steps]) -> list[Row]:
    """Settled mean step / η: one row a dialect, one column a size of gradient."""
    rows: list[Row] = []
    for name in dialects:
        row: Row = {"settled step / η": name, "α": f"{dialects[name]['alpha']:g}"}
        row["first step / η, size 1"] = _of(steps, name, 1.0).mean_step[0]
        rows.append(row | {f"{size:g}": _of(steps, name, size).settled for size in SIZES})
    return rows


def _of(steps: Sequence[Steps], dialect: str, size: float) -> Steps:
    return next(s for s in steps if (s.dialect, s.size) == (dialect, size))


def data(steps: Sequence[Steps], drops: Sequence[Drop]) -> list[Row]:
    """All three panels, one value a row."""
    rows: list[Row] = [
        {"panel": "settled", "curve": s.dialect, "x": s.size, "y": s.settled} for s in steps
    ]
    for name in _START_STYLES:
        first = _of(steps, name, START_SIZE).mean_step[:START_STEPS]
        rows += [
            {"panel": "start", "curve": name, "x": step, "y": first[step - 1]}
            for step in _log_spaced(len(first))
        ]
    for drop in drops:
        name = "lr_in_momentum" if drop.lr_in_momentum else "lr outside"
        rows += [
            {"panel": "drop", "curve": name, "x": step, "y": length}
            for step, length in enumerate(drop.step_length, 1)
        ]
    return rows


def _log_spaced(last: int) -> list[int]:
    return sorted({round(last ** (i / 60)) for i in range(61)})


_START_STYLES = {
    "torch": (BLUE, "-", "torch: v₀ = 0, α = 0.99"),
    "keras": (GREEN, "--", "keras: v₀ = 0, α = 0.9"),
    "tf1": (ORANGE, "-", "tf1: v₀ = 1, α = 0.9"),
    "sb3_tf_like": (PINK, "--", "sb3_tf_like: v₀ = 1, α = 0.99"),
    "deepmind": (YELLOW, "-.", "deepmind: ε = 0.01 in the root"),
}


def draw(steps: Sequence[Steps], drops: Sequence[Drop]) -> Figure:
    figure = new_figure(
        11, 9.2, f"{len(dialects)} dialects of RMSprop: the same gradients, the same η"
    )
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.75))
    start, drop = above.subplots(1, 2)
    _draw_start(start, steps)
    _draw_drop(drop, drops)
    _draw_settled(below.subplots(), steps)
    return figure


def _draw_start(ax: Axes, steps: Sequence[Steps]) -> None:
    for name, (colour, line, label) in _START_STYLES.items():
        first = _of(steps, name, START_SIZE).mean_step[:START_STEPS]
        numbers = _log_spaced(len(first))
        ax.plot(numbers, [first[n - 1] for n in numbers], line, color=colour, label=label)
    ax.set(xscale="log", yscale="log", xlabel="step", ylabel="mean step / η", ylim=(4e-5, 20))
    ax.set_title(f"The start (gradients of size {START_SIZE})")
    ax.legend(loc="lower right", fontsize=9)


def _draw_drop(ax: Axes, drops: Sequence[Drop]) -> None:
    labels = {
        False: "torch: b ← μ b + g / d,  θ ← θ − η b",
        True: "tf1, keras, optax: b ← μ b + η g / d,  θ ← θ − b",
    }
    styles = {False: (BLUE, "-"), True: (ORANGE, "--")}
    for drop in drops:
        colour, line = styles[drop.lr_in_momentum]
        numbers = range(1, len(drop.step_length) + 1)
        label = labels[drop.lr_in_momentum]
        ax.plot(numbers, drop.step_length, line, color=colour, label=label)
    ax.set(
        xlabel="step", ylabel="step / first η", yscale="log", xlim=(50, DROP_STEPS), ylim=(0.02, 20)
    )
    ax.set_title(f"Momentum {MOMENTUM}: η falls a hundredfold")
    ax.legend(loc="lower left", fontsize=9)


def _draw_settled(ax: Axes, steps: Sequence[Steps]) -> None:
    from matplotlib.colors import LogNorm

    table_ = [[_of(steps, name, size).settled for size in SIZES] for name in dialects]
    ax.imshow(table_, norm=LogNorm(1e-5, 10), cmap="cividis", aspect="auto")
    for i, row in enumerate(table_):
        for j, value in enumerate(row):
            # cividis is dark where values are small.
            colour = "black" if value > 0.05 else "white"
            ax.text(j, i, f"{value:.2g}", ha="center", va="center", color=colour, fontsize=9)
    ax.set_xticks(range(len(SIZES)), [f"{size:g}" for size in SIZES])
    ax.set_yticks(range(len(dialects)), [_row_label(name) for name in dialects])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_xlabel("size of the gradients")
    ax.set_title("Settled mean step / η: where ε takes over, steps shrink with the gradient")


def _row_label(name: str) -> str:
    options = dialects[name]
    eps = f"{options['eps']:.2g}".replace("e-0", "e-")
    where = "in the root" if options["eps_inside_sqrt"] else "outside"
    return (
        f"{name}   α {options['alpha']:g}, ε {eps} {where}" if options["eps"] else f"{name}   no ε"
    )


def main() -> None:
    out = parse_arguments(__doc__).out
    steps, drops = run(seed=0), run_drop()
    publish(out, "dialects_diverge", table(steps), data(steps, drops), lambda: draw(steps, drops))


if __name__ == "__main__":
    main()
