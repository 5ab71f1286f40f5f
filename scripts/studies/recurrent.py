"""An LSTM that must carry two numbers over 30 steps: RMSprop beside Adam, Adagrad and SGD.

The adding problem (Hochreiter and Schmidhuber 1997): a sequence of pairs (number, mark), numbers
uniform in [0, 1], one mark in either half. After the last step the network must say the sum of the
two marked numbers. Always saying 1 has a mean squared error of 1/6: nothing remembered.

Every optimizer starts from the same networks and sees the same sequences, never one twice, with
four learning rates and the gradient's norm clipped at 1. About two minutes on one core.

    python scripts/studies/recurrent.py --out docs/images
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from _common import COLOURS, Row, new_figure, parse_arguments, publish
from torch import Tensor

from dqn.comparison.show.style import GREY
from rmsprop import Adagrad, RMSprop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LENGTH, HIDDEN_SIZE, BATCH_SIZE = 30, 32, 32
NUM_STEPS, STEPS_PER_POINT = 800, 40
MAX_GRAD_NORM = 1.0
GUESSING = 1 / 6  # variance of the sum of two numbers uniform in [0, 1]
LEARNING_RATES: Mapping[str, Sequence[float]] = {
    "RMSprop": (1e-3, 3e-3, 1e-2, 3e-2),
    "Adam": (1e-3, 3e-3, 1e-2, 3e-2),
    "Adagrad": (1e-2, 3e-2, 1e-1, 3e-1),
    "SGD": (3e-2, 1e-1, 3e-1, 1.0),
}
_SETTINGS = {
    "RMSprop": ", α = 0.99, ε = 1e-8",
    "Adam": ", β = 0.9, 0.999, ε = 1e-8",
    "Adagrad": ", ε = 1e-10",
    "SGD": "",
}


@dataclass(frozen=True)
class Curve:
    """Mean squared error of one network while it learned, on sequences it had not seen."""

    optimizer: str
    lr: float
    seed: int
    mse: list[float]
    """Averages over STEPS_PER_POINT steps."""

    @property
    def final_mse(self) -> float:
        """Average over the last two points: 80 batches of 32 sequences."""
        return statistics.fmean(self.mse[-2:])


def adding_problem(
    batch_size: int, length: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sequences ``[batch, length, 2]`` of (number, mark) and the sums ``[batch]`` of the marked."""
    numbers = torch.rand(batch_size, length, generator=generator)
    marks = torch.zeros(batch_size, length)
    half = length // 2
    marks.scatter_(1, torch.randint(0, half, (batch_size, 1), generator=generator), 1.0)
    marks.scatter_(1, torch.randint(half, length, (batch_size, 1), generator=generator), 1.0)
    return torch.stack([numbers, marks], dim=-1), (numbers * marks).sum(dim=1)


def initial_parameters(seed: int) -> list[Tensor]:
    """Input, recurrent and output weights and biases of one LSTM; its forget gates start open."""
    generator = torch.Generator().manual_seed(seed)
    bound = HIDDEN_SIZE**-0.5
    shapes = ((2, 4 * HIDDEN_SIZE), (HIDDEN_SIZE, 4 * HIDDEN_SIZE), (HIDDEN_SIZE, 1))
    into, recurrent, out = (
        torch.empty(shape).uniform_(-bound, bound, generator=generator) for shape in shapes
    )
    bias = torch.zeros(1, 4 * HIDDEN_SIZE)
    bias[:, HIDDEN_SIZE : 2 * HIDDEN_SIZE] = 1.0
    return [into, recurrent, bias, out, torch.zeros(1, 1)]


def lstm(parameters: Sequence[Tensor], sequences: Tensor) -> Tensor:
    """Outputs ``[networks, batch]`` of many LSTMs at once.

    ``torch.nn.LSTM`` runs one network at a time: for networks this small, most of the time would
    go into starting operations. Here each operation serves all of them.

    Args:
        parameters: those of :func:`initial_parameters`, stacked along a first axis [networks].
        sequences: [networks, batch, length, 2].
    """
    into, recurrent, bias, out, out_bias = parameters
    networks, batch, length, _ = sequences.shape
    projected = torch.baddbmm(bias, sequences.flatten(1, 2), into)  # [networks, batch·length, 4H]
    hidden = cell = sequences.new_zeros(networks, batch, HIDDEN_SIZE)
    for at_step in projected.view(networks, batch, length, -1).unbind(dim=2):
        gates = torch.baddbmm(at_step, hidden, recurrent)  # [networks, batch, 4H]
        write, keep, read = gates[..., : 3 * HIDDEN_SIZE].sigmoid().chunk(3, dim=-1)
        cell = keep * cell + write * gates[..., 3 * HIDDEN_SIZE :].tanh()
        hidden = read * cell.tanh()
    return torch.baddbmm(out_bias, hidden, out).squeeze(-1)


def run(
    seeds: Sequence[int],
    num_steps: int = NUM_STEPS,
    length: int = LENGTH,
    learning_rates: Mapping[str, Sequence[float]] = LEARNING_RATES,
) -> list[Curve]:
    """One curve for each optimizer, learning rate and seed; ``num_steps`` of batches of 32."""
    return [
        curve
        for optimizer, rates in learning_rates.items()
        for curve in _train(optimizer, rates, seeds, num_steps, length)
    ]


def _train(
    name: str, rates: Sequence[float], seeds: Sequence[int], num_steps: int, length: int
) -> list[Curve]:
    networks = [initial_parameters(seed) for seed in seeds]
    # A parameter group for each learning rate; in it, the networks of all seeds as one tensor.
    groups = [
        [torch.stack(tensors).requires_grad_() for tensors in zip(*networks, strict=True)]
        for _ in rates
    ]
    optimizer = _optimizer(name, groups, rates)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    losses = []
    for _ in range(num_steps):
        batches = [adding_problem(BATCH_SIZE, length, generator) for generator in generators]
        sequences, sums = (torch.stack(parts) for parts in zip(*batches, strict=True))
        parameters = [torch.cat(tensors) for tensors in zip(*groups, strict=True)]
        outputs = lstm(parameters, sequences.repeat(len(rates), 1, 1, 1))
        loss = (outputs - sums.repeat(len(rates), 1)).square().mean(dim=1)  # [rates · seeds]
        optimizer.zero_grad()
        loss.sum().backward()  # a sum: the networks share nothing, so each gets its own gradient
        for group in groups:
            _clip_each_network(group)
        optimizer.step()
        losses.append(loss.detach())
    points = torch.stack(losses).view(-1, STEPS_PER_POINT, len(rates), len(seeds)).mean(dim=1)
    return [
        Curve(name, lr, seed, points[:, i, j].tolist())
        for i, lr in enumerate(rates)
        for j, seed in enumerate(seeds)
    ]


def _optimizer(
    name: str, groups: Sequence[Sequence[Tensor]], rates: Sequence[float]
) -> torch.optim.Optimizer:
    with_rates = [{"params": group, "lr": lr} for group, lr in zip(groups, rates, strict=True)]
    if name == "RMSprop":
        return RMSprop(with_rates, alpha=0.99, eps=1e-8, fused=False)
    if name == "Adagrad":
        return Adagrad(with_rates, eps=1e-10, fused=False)
    if name == "Adam":
        return torch.optim.Adam(with_rates, betas=(0.9, 0.999), eps=1e-8)
    return torch.optim.SGD(with_rates)


def _clip_each_network(stacked: Sequence[Tensor]) -> None:
    gradients = [tensor.grad for tensor in stacked if tensor.grad is not None]
    square = torch.stack([g.square().sum(dim=(1, 2)) for g in gradients]).sum(dim=0)  # [seeds]
    scale = (MAX_GRAD_NORM / square.sqrt().clamp_min(1e-12)).clamp_max(1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, 1, 1))


def best_rate(curves: Sequence[Curve], optimizer: str) -> float:
    """The learning rate with the lowest median final error over the seeds."""
    rates = {curve.lr for curve in curves if curve.optimizer == optimizer}
    return min(sorted(rates), key=lambda lr: statistics.median(_final(curves, optimizer, lr)))


def _final(curves: Sequence[Curve], optimizer: str, lr: float) -> list[float]:
    return sorted(c.final_mse for c in curves if (c.optimizer, c.lr) == (optimizer, lr))


def table(curves: Sequence[Curve]) -> list[Row]:
    """The final error of every optimizer and rate; solved means below a tenth of guessing."""
    rows: list[Row] = []
    for optimizer in dict.fromkeys(curve.optimizer for curve in curves):
        best = best_rate(curves, optimizer)
        for lr in sorted({c.lr for c in curves if c.optimizer == optimizer}):
            final = _final(curves, optimizer, lr)
            solved = sum(mse < GUESSING / 10 for mse in final)
            rows.append(
                {
                    "optimizer": optimizer,
                    "lr": lr,
                    "best": "*" if lr == best else "",
                    "median MSE": statistics.median(final),
                    "lowest": final[0],
                    "highest": final[-1],
                    "solved": f"{solved} of {len(final)}",
                }
            )
    return rows


def data(curves: Sequence[Curve]) -> list[Row]:
    return [
        {"optimizer": c.optimizer, "lr": c.lr, "seed": c.seed, "step": step, "mse": mse}
        for c in curves
        for step, mse in enumerate(c.mse, 1)
    ]


def draw(curves: Sequence[Curve]) -> Figure:
    num_seeds = len({curve.seed for curve in curves})
    figure = new_figure(
        10,
        4.6,
        f"Adding problem over {LENGTH} steps, LSTM of {HIDDEN_SIZE} units, {num_seeds} seeds",
    )
    learning, rates = figure.subplots(1, 2, sharey=True, width_ratios=(1.2, 1))
    markers = {"RMSprop": "o", "Adam": "s", "Adagrad": "^", "SGD": "D"}
    for name, marker in markers.items():
        best, colour = best_rate(curves, name), COLOURS[name]
        own = [c.mse for c in curves if (c.optimizer, c.lr) == (name, best)]
        points = list(zip(*own, strict=True))
        steps = [STEPS_PER_POINT * (i + 0.5) for i in range(len(points))]
        learning.fill_between(
            steps, list(map(min, points)), list(map(max, points)), color=colour, alpha=0.2, lw=0
        )
        learning.plot(
            steps,
            list(map(statistics.median, points)),
            color=colour,
            label=f"{name}, η = {best:g}{_SETTINGS[name]}",
        )
        tried = sorted({c.lr for c in curves if c.optimizer == name})
        finals = [_final(curves, name, lr) for lr in tried]
        rates.plot(
            tried, list(map(statistics.median, finals)), color=colour, marker=marker, label=name
        )
        for lr, final in zip(tried, finals, strict=True):
            rates.plot([lr] * len(final), final, marker, color=colour, ms=3.5, alpha=0.45)
    for ax in (learning, rates):
        ax.axhline(GUESSING, color=GREY, linestyle=":", linewidth=1.2)
        ax.set(yscale="log", ylim=(1e-4, 0.6))
    learning.text(0, GUESSING * 0.93, "nothing remembered: 1/6", color=GREY, va="top")
    learning.set(xlabel="step", ylabel="mean squared error")
    learning.set_title("At its best learning rate: median, range")
    learning.legend(loc="lower left")
    rates.set(xlabel="learning rate η", xscale="log")
    rates.set_title(f"After {NUM_STEPS} steps: median, each seed")
    return figure


def main() -> None:
    arguments = parse_arguments(__doc__, seeds=range(5))
    curves = run(arguments.seeds)
    publish(arguments.out, "recurrent", table(curves), data(curves), lambda: draw(curves))


if __name__ == "__main__":
    main()
