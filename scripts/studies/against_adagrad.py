"""Gradients change scale half-way: Adagrad stops learning, RMSprop recovers.

Each of 100 parameters follows a target with noisy gradients s · (θ − target + noise). First s = 10
and the target is 1; half-way s becomes 0.01 and the target −1. Adagrad divides by the root of the
sum of all squares it has ever seen, which the first half fills with gradients a thousand times
larger: what is left of its rate moves nothing. In RMSprop's average old squares fade: at α = 0.99
they weigh a millionth after 1375 steps. The other side of the coin is the first half: where
nothing changes, Adagrad's falling rate averages the noise away, and RMSprop at a constant η goes
on trembling.

Each optimizer uses the learning rate that was best for it at the end of the first half.

    python scripts/studies/against_adagrad.py --out docs/images
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from _common import COLOURS, Row, new_figure, parse_arguments, publish

from dqn.comparison.show.style import GREY
from rmsprop import Adagrad, RMSprop, effective_learning_rates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_PARAMETERS = 100
HALF = 3000
SCALES, TARGETS = (10.0, 0.01), (1.0, -1.0)
ALPHA, EPS = 0.99, 1e-8
LEARNING_RATES: Mapping[str, Sequence[float]] = {
    "RMSprop": (1e-3, 3e-3, 1e-2, 3e-2),
    "Adagrad": (3e-2, 1e-1, 3e-1, 1.0),
}


@dataclass(frozen=True)
class Path:
    """Of one optimizer with one learning rate, at every step, over all parameters and one seed."""

    optimizer: str
    lr: float
    seed: int
    distance: list[float]
    """Root mean square of θ − target."""
    effective_lr: list[float]
    """Median effective learning rate."""


def run(seeds: Sequence[int], half: int = HALF) -> list[Path]:
    """Every learning rate of both optimizers; for one seed all see the same noise."""
    return [
        path for name, rates in LEARNING_RATES.items() for path in _follow(name, rates, seeds, half)
    ]


def _follow(name: str, rates: Sequence[float], seeds: Sequence[int], half: int) -> list[Path]:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    thetas = [torch.zeros(len(seeds), NUM_PARAMETERS, requires_grad=True) for _ in rates]
    groups = [
        {"params": [(str(lr), theta)], "lr": lr} for lr, theta in zip(rates, thetas, strict=True)
    ]
    optimizer = (
        RMSprop(groups, alpha=ALPHA, eps=EPS, fused=False)
        if name == "RMSprop"
        else Adagrad(groups, eps=EPS, fused=False)
    )
    distances, effective = [], []
    for scale, target in zip(SCALES, TARGETS, strict=True):
        for _ in range(half):
            noise = torch.stack([torch.randn(NUM_PARAMETERS, generator=g) for g in generators])
            for theta in thetas:
                theta.grad = scale * (theta.detach() - target + noise)
            optimizer.step()
            errors = torch.stack(thetas).detach() - target  # [rates, seeds, parameters]
            distances.append(errors.square().mean(dim=2).sqrt())
            effective_lr = torch.stack(list(effective_learning_rates(optimizer).values()))
            effective.append(effective_lr.median(dim=2).values)
    by_step, effective_by_step = torch.stack(distances), torch.stack(effective)
    return [
        Path(name, lr, seed, by_step[:, i, j].tolist(), effective_by_step[:, i, j].tolist())
        for i, lr in enumerate(rates)
        for j, seed in enumerate(seeds)
    ]


def median_distance(paths: Sequence[Path], name: str, lr: float, step: int) -> float:
    """Median over the seeds of the distance after ``step`` steps."""
    own = (path for path in paths if (path.optimizer, path.lr) == (name, lr))
    return statistics.median(path.distance[step - 1] for path in own)


def best_rate(paths: Sequence[Path], name: str) -> float:
    """The learning rate whose distance was smallest just before the change."""
    half = len(paths[0].distance) // 2
    return min(LEARNING_RATES[name], key=lambda lr: median_distance(paths, name, lr, half))


def table(paths: Sequence[Path]) -> list[Row]:
    """Distances just before the change, and later; at the change the distance becomes 2."""
    end = len(paths[0].distance)
    half = end // 2
    rows: list[Row] = []
    for name, rates in LEARNING_RATES.items():
        best = best_rate(paths, name)
        for lr in rates:
            at = (half, half + half // 10, half + half // 3, end)
            row: Row = {"optimizer": name, "lr": lr, "best": "*" if lr == best else ""}
            rows.append(
                row | {f"step {step}": median_distance(paths, name, lr, step) for step in at}
            )
    return rows


def data(paths: Sequence[Path]) -> list[Row]:
    """The paths in the picture, every 20th step."""
    return [
        {
            "optimizer": p.optimizer,
            "lr": p.lr,
            "seed": p.seed,
            "step": step,
            "distance": p.distance[step - 1],
            "effective_lr": p.effective_lr[step - 1],
        }
        for p in _best(paths)
        for step in range(20, len(p.distance) + 1, 20)
    ]


def _best(paths: Sequence[Path]) -> list[Path]:
    """The paths of the best learning rates, first seed."""
    best = {name: best_rate(paths, name) for name in LEARNING_RATES}
    return [p for p in paths if p.lr == best[p.optimizer] and p.seed == paths[0].seed]


def draw(paths: Sequence[Path]) -> Figure:
    figure = new_figure(
        10, 4.4, "Gradients become 1000 times smaller half-way, and the target moves"
    )
    distance, effective = figure.subplots(1, 2)
    for path in _best(paths):
        colour, style = COLOURS[path.optimizer], "-" if path.optimizer == "RMSprop" else "--"
        steps = range(1, len(path.distance) + 1)
        alpha = f", α = {ALPHA}" if path.optimizer == "RMSprop" else ""
        label = f"{path.optimizer}, η = {path.lr:g}{alpha}"
        distance.plot(steps, path.distance, color=colour, linestyle=style, label=label)
        effective.plot(steps, path.effective_lr, color=colour, linestyle=style, label=label)
    for ax in (distance, effective):
        ax.axvline(len(paths[0].distance) / 2, color=GREY, linestyle=":", linewidth=1.2)
        ax.set(xlabel="step", yscale="log")
    distance.set_ylabel("distance to the target (root mean square)")
    distance.set_title("One stops, one recovers")
    effective.set_ylabel("median effective learning rate")
    effective.set_title("Why (ε = 1e-8)")
    effective.legend(loc="upper left")
    return figure


def main() -> None:
    arguments = parse_arguments(__doc__, seeds=range(5))
    paths = run(arguments.seeds)
    publish(arguments.out, "against_adagrad", table(paths), data(paths), lambda: draw(paths))


if __name__ == "__main__":
    main()
