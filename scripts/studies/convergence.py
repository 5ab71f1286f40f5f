"""When RMSprop converges: regret that grows like √T, and the example where a short memory fails.

Online convex optimization: at step t choose θ, then pay f_t(θ). Regret is what was paid, less what
the best fixed θ would have paid. Here f_t(θ) = Σ x |θ − z| over ten coordinates in [−1, 1], with
normal z and slopes x of 1 or (one time in ten) 10.

With η_t = η / √t, regret / √T stays bounded, and a constant η lets it grow. Mukkamala and Hein 2017
prove the √T for α_t = 1 − γ / t, 0 < γ ≤ 1. The case γ = 1 with ε_t = ε / √t is Adagrad:
v_t is then the mean of all squares, and η_t / (√v_t + ε_t) = η / (√Σg² + ε).

A constant α has no such theorem. Reddi, Kale and Kumar 2018: f_t(θ) = C θ at every third step, −θ
at the others, θ in [−1, 1]. For C > 2 the best θ is −1. With a short memory the large gradient
is divided by its own size, its two small opponents are not, and θ walks to +1, the worst point.

    python scripts/studies/convergence.py --out docs/images
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from _common import Row, new_figure, parse_arguments, print_table, publish
from torch import Tensor

from dqn.comparison.show.style import BLUE, GREEN, GREY, ORANGE, PINK, YELLOW
from rmsprop import Adagrad, RMSprop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LR, CONSTANT_LR, EPS = 0.5, 0.05, 1e-8
ADAGRAD, GAMMA_1, GAMMA_09 = "Adagrad", "RMSprop, α = 1 − 1/t", "RMSprop, α = 1 − 0.9/t"
CONSTANT_ALPHA, CONSTANT_BOTH = "RMSprop, α = 0.99", "RMSprop, α = 0.99, constant η"
METHODS = (GAMMA_1, GAMMA_09, CONSTANT_ALPHA, CONSTANT_BOTH, ADAGRAD)
NUM_COORDINATES, NUM_STEPS = 10, 20_000

COUNTER_LR, COUNTER_STEPS = 0.1, 6000
LARGE_GRADIENTS = (2.5, 3.0, 5.0, 10.0)
ALPHAS = tuple(round(0.02 + 0.04 * i, 2) for i in range(25))


@dataclass(frozen=True)
class Regret:
    """Regret of one method after ``steps`` steps, and where it stood."""

    method: str
    seed: int
    steps: int
    regret: float
    theta: tuple[float, ...]


@dataclass(frozen=True)
class Ending:
    """Where RMSprop ended in the example of Reddi et al.; the best point is −1."""

    large_gradient: float
    alpha: float
    theta: float


def run_regret(seeds: Sequence[int], num_steps: int = NUM_STEPS) -> list[Regret]:
    """Regret of five methods on the same losses, at times spread evenly over log T."""
    draws = [_slopes_and_targets(seed, num_steps) for seed in seeds]
    slopes, targets = (torch.stack(parts, dim=1) for parts in zip(*draws, strict=True))
    shape = (len(seeds), NUM_COORDINATES)
    thetas = {
        method: torch.zeros(shape, dtype=torch.float64, requires_grad=True) for method in METHODS
    }
    groups = [{"params": [theta]} for method, theta in thetas.items() if method != ADAGRAD]
    rmsprop = RMSprop(groups, lr=LR, alpha=0.99, eps=EPS, fused=False)
    adagrad = Adagrad([thetas[ADAGRAD]], lr=LR, eps=EPS, fused=False)
    gamma_1, gamma_09, constant_alpha, constant_lr = rmsprop.param_groups
    constant_lr["lr"] = CONSTANT_LR

    paid = torch.zeros(len(thetas), len(seeds), dtype=torch.float64)
    checkpoints = {round(num_steps ** (i / 20)) for i in range(5, 21)}
    regrets = []
    for t, (x, z) in enumerate(zip(slopes, targets, strict=True), 1):  # [seeds, coordinates]
        gamma_1.update(lr=LR / math.sqrt(t), alpha=1 - 1 / t, eps=EPS / math.sqrt(t))
        gamma_09.update(lr=LR / math.sqrt(t), alpha=1 - 0.9 / t, eps=EPS / math.sqrt(t))
        constant_alpha["lr"] = LR / math.sqrt(t)
        away = torch.stack(list(thetas.values())).detach() - z  # [methods, seeds, coordinates]
        paid += (x * away.abs()).sum(dim=2)
        for theta, gradient in zip(thetas.values(), x * away.sign(), strict=True):
            theta.grad = gradient
        rmsprop.step()
        adagrad.step()
        _project(thetas.values())
        if t in checkpoints:
            regret = paid - least_cost(slopes[:t], targets[:t])
            regrets += [
                Regret(method, seed, t, regret[i, j].item(), tuple(theta[j].tolist()))
                for i, (method, theta) in enumerate(thetas.items())
                for j, seed in enumerate(seeds)
            ]
    return regrets


def _slopes_and_targets(seed: int, num_steps: int) -> tuple[Tensor, Tensor]:
    """x and z of every step and coordinate, ``[steps, coordinates]``."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_steps, NUM_COORDINATES)
    slopes = torch.where(torch.rand(shape, generator=generator) < 0.1, 10.0, 1.0)
    centre = 1.2 * torch.rand(NUM_COORDINATES, generator=generator) - 0.6
    targets = centre + 0.5 * torch.randn(shape, generator=generator)
    return slopes.double(), targets.double()


def _project(thetas: Iterable[Tensor]) -> None:
    """Back into [−1, 1]: the domain of both problems."""
    with torch.no_grad():
        for theta in thetas:
            theta.clamp_(-1, 1)


def least_cost(slopes: Tensor, targets: Tensor) -> Tensor:
    """min over θ in [−1, 1] of Σ_t x_t |θ − z_t|, summed over coordinates (the last axis).

    The minimum over all θ is the weighted median of z_t. Σ is convex, so the nearest point of the
    domain is its minimum there.
    """
    order = targets.argsort(dim=0)
    z, x = targets.gather(0, order), slopes.gather(0, order)
    reached = (x.cumsum(dim=0) >= x.sum(dim=0) / 2).to(torch.uint8).argmax(dim=0, keepdim=True)
    median = z.gather(0, reached).clamp(-1, 1)
    return (slopes * (median - targets).abs()).sum(dim=(0, -1))


def run_counter_example(
    alphas: Sequence[float] = ALPHAS, num_steps: int = COUNTER_STEPS
) -> list[Ending]:
    """θ after ``num_steps`` steps from 0 with η_t = 0.1 / √t, for every C and α."""
    large = torch.tensor(LARGE_GRADIENTS, dtype=torch.float64)
    thetas = [torch.zeros_like(large, requires_grad=True) for _ in alphas]
    groups = [{"params": [t], "alpha": alpha} for t, alpha in zip(thetas, alphas, strict=True)]
    optimizer = RMSprop(groups, lr=COUNTER_LR, eps=EPS, fused=False)
    for t in range(1, num_steps + 1):
        gradient = large if t % 3 == 1 else -torch.ones_like(large)
        for theta, group in zip(thetas, optimizer.param_groups, strict=True):
            theta.grad = gradient
            group["lr"] = COUNTER_LR / math.sqrt(t)
        optimizer.step()
        _project(thetas)
    return [
        Ending(c, alpha, ending)
        for theta, alpha in zip(thetas, alphas, strict=True)
        for c, ending in zip(LARGE_GRADIENTS, theta.tolist(), strict=True)
    ]


def threshold(large_gradient: float) -> float:
    """The α below which RMSprop walks the wrong way in the example, from its cycle of three steps.

    When v has settled into its cycle, up to one common factor it is C² + α + α² at the large
    gradient, then 1 + α C² + α², then 1 + α + α² C². Over a cycle θ moves by the sum of
    gradient / √v, which is zero at the threshold.
    """
    c, low, high = large_gradient, 0.0, 1.0
    for _ in range(50):
        alpha = (low + high) / 2
        after_large = math.sqrt(c**2 + alpha + alpha**2)
        after_one = math.sqrt(1 + alpha * c**2 + alpha**2)
        after_two = math.sqrt(1 + alpha + alpha**2 * c**2)
        goes_to_the_worst = c / after_large < 1 / after_one + 1 / after_two
        low, high = (alpha, high) if goes_to_the_worst else (low, alpha)
    return low


def regret_table(regrets: Sequence[Regret]) -> list[Row]:
    """Median of regret / √T over the seeds."""
    times = sorted({r.steps for r in regrets})[::-5][::-1]
    rows: list[Row] = []
    for method in METHODS:
        row: Row = {"regret / √T": method}
        rows.append(row | {f"T = {time}": scaled_regret(regrets, method, time) for time in times})
    return rows


def scaled_regret(regrets: Sequence[Regret], method: str, time: int) -> float:
    """Median over the seeds of regret / √T at T = ``time``."""
    own = [r.regret for r in regrets if (r.method, r.steps) == (method, time)]
    return statistics.median(own) / math.sqrt(time)


def counter_example_table(endings: Sequence[Ending]) -> list[Row]:
    """Where θ ended for some α, beside the threshold."""
    rows: list[Row] = []
    for c in LARGE_GRADIENTS:
        own = {e.alpha: e.theta for e in endings if e.large_gradient == c}
        row: Row = {"C": str(c), "threshold α": threshold(c)}
        rows.append(row | {f"θ at α = {alpha}": own[alpha] for alpha in (0.02, 0.1, 0.5, 0.9)})
    return rows


def data(regrets: Sequence[Regret], endings: Sequence[Ending]) -> list[Row]:
    """Both panels, one value a row."""
    left: list[Row] = [
        {"panel": "regret", "curve": r.method, "seed": r.seed, "x": r.steps, "y": r.regret}
        for r in regrets
    ]
    right: list[Row] = [
        {
            "panel": "end",
            "curve": f"C = {e.large_gradient:g}",
            "seed": "",
            "x": e.alpha,
            "y": e.theta,
        }
        for e in endings
    ]
    return left + right


def draw(regrets: Sequence[Regret], endings: Sequence[Ending]) -> Figure:
    figure = new_figure(10.5, 4.6, "When RMSprop converges, and when it cannot")
    bounded, counter = figure.subplots(1, 2)
    times = sorted({r.steps for r in regrets})
    styles = {
        ADAGRAD: ("black", "-", 5, 0.25),
        GAMMA_1: (GREEN, "--", 2, 1),
        GAMMA_09: (PINK, ":", 2.5, 1),
        CONSTANT_ALPHA: (BLUE, "-", 2, 1),
        CONSTANT_BOTH: (ORANGE, "-.", 2, 1),
    }
    for method, (colour, line, width, opacity) in styles.items():
        values = [scaled_regret(regrets, method, time) for time in times]
        label = f"{method} 0.05" if method == CONSTANT_BOTH else method
        bounded.plot(times, values, line, color=colour, lw=width, alpha=opacity, label=label)
    bounded.set(xscale="log", yscale="log", xlabel="T", ylabel="regret / √T", ylim=(4, 110))
    bounded.set_yticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
    bounded.minorticks_off()
    bounded.set_title("η / √t keeps regret / √T bounded (η = 0.5)")
    bounded.legend(loc="upper left")

    for c, colour in zip(LARGE_GRADIENTS, (PINK, BLUE, GREEN, YELLOW), strict=True):
        own = [e for e in endings if e.large_gradient == c]
        counter.plot([e.alpha for e in own], [e.theta for e in own], "o-", color=colour, ms=4)
        counter.axvline(threshold(c), color=colour, linestyle=":", linewidth=1.5)
        counter.text(
            threshold(c), 1.09, f"C = {c:g}", color=colour, ha="center", backgroundcolor="white"
        )
    counter.text(0.98, 0.97, "worst point", color=GREY, ha="right", va="center")
    counter.text(0.98, -0.95, "best point", color=GREY, ha="right", va="bottom")
    counter.set(xlabel="α", ylabel=f"θ after {COUNTER_STEPS} steps", ylim=(-1.1, 1.2))
    counter.set_title("Gradients C, −1, −1: a short memory fails (η = 0.1)")
    return figure


def main() -> None:
    arguments = parse_arguments(__doc__, seeds=range(5))
    regrets, endings = run_regret(arguments.seeds), run_counter_example()
    print_table(regret_table(regrets))
    print()
    publish(
        arguments.out,
        "convergence",
        counter_example_table(endings),
        data(regrets, endings),
        lambda: draw(regrets, endings),
    )


if __name__ == "__main__":
    main()
