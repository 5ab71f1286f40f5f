"""Draw a run's learning curve beside its effective learning rates, from ``metrics.jsonl``.

    python scripts/plot_run.py runs/pong/pong/rmsprop_deepmind/seed=1 --out results/pong

writes ``curve.png`` and ``curve.csv``: the return of every game with a running mean, each
evaluation's mean and standard deviation over games, and for each layer's weight the band from the
5th to the 95th percentile of its effective learning rates.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dqn.run_format import (
    EFFECTIVE_LR_QUANTILES,
    EPISODE_RETURN,
    EVALUATION_RETURN_MEAN,
    EVALUATION_RETURN_STD,
    METRICS_FILE,
    effective_lr_tag,
    parameter_of_median,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = dict[str, float]
RUNNING_MEAN_GAMES = 20


def read_lines(path: Path) -> list[Line]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def series(lines: Iterable[Line], tag: str) -> tuple[list[float], list[float]]:
    """Steps and values of one metric."""
    points = [(line["step"], line[tag]) for line in lines if tag in line]
    return [step for step, _ in points], [value for _, value in points]


def running_mean(values: list[float], width: int) -> list[float]:
    """Mean of each value and up to ``width - 1`` before it.

    >>> running_mean([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
    means = []
    for end in range(1, len(values) + 1):
        window = values[max(0, end - width) : end]
        means.append(sum(window) / len(window))
    return means


def write_csv(path: Path, metrics: list[Line]) -> None:
    """Every game and every evaluation, a row each."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["agent_step", "kind", "return"])
        for line in metrics:
            if EPISODE_RETURN in line:
                writer.writerow([int(line["step"]), "training_game", line[EPISODE_RETURN]])
            if EVALUATION_RETURN_MEAN in line:
                writer.writerow(
                    [int(line["step"]), "evaluation_mean", line[EVALUATION_RETURN_MEAN]]
                )


def draw(path: Path, metrics: list[Line], title: str) -> None:
    """The two panels, one above the other over the same agent steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(9, 7.5), layout="constrained")
    draw_returns(top, metrics)
    top.set_title(title, fontsize=11)
    draw_rates(bottom, metrics)
    bottom.set_xlabel("agent steps (4 frames each)")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_returns(axes: Axes, metrics: list[Line]) -> None:
    """The return of every game with a running mean, and the evaluations."""
    steps, returns = series(metrics, EPISODE_RETURN)
    axes.plot(steps, returns, ".", markersize=2, color="0.75", label="training games")
    axes.plot(
        steps,
        running_mean(returns, RUNNING_MEAN_GAMES),
        color="tab:blue",
        label=f"mean of {RUNNING_MEAN_GAMES} games",
    )
    evaluation_steps, means = series(metrics, EVALUATION_RETURN_MEAN)
    _, deviations = series(metrics, EVALUATION_RETURN_STD)
    axes.errorbar(
        evaluation_steps,
        means,
        yerr=deviations,
        fmt="o",
        color="tab:orange",
        capsize=3,
        label="evaluation, mean ± std over games",
    )
    axes.set_ylabel("game score")
    axes.legend(loc="upper left", frameon=False)


def draw_rates(axes: Axes, metrics: list[Line]) -> None:
    """The band of effective learning rates of each layer's weight."""
    names = map(parameter_of_median, dict.fromkeys(tag for line in metrics for tag in line))
    for layer in (name for name in names if name is not None and name.endswith("weight")):
        (steps, low), (_, medians), (_, high) = (
            series(metrics, effective_lr_tag(layer, quantile))
            for quantile in EFFECTIVE_LR_QUANTILES
        )
        (line,) = axes.plot(steps, medians, label=layer)
        axes.fill_between(steps, low, high, alpha=0.12, color=line.get_color(), linewidth=0)
    axes.set_yscale("log")
    axes.set_ylabel("effective learning rate\n(median, 5th to 95th percentile)")
    axes.legend(loc="lower left", frameon=False, fontsize=8, ncols=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_dir", type=Path, help="a directory that dqn-train has written")
    parser.add_argument(
        "--out", type=Path, required=True, help="directory for curve.png, curve.csv"
    )
    parser.add_argument("--title", default=None, help="default: the run's directory")
    arguments = parser.parse_args()
    path = arguments.run_dir / METRICS_FILE
    if not path.exists():
        parser.error(f"run_dir={arguments.run_dir}: holds no {METRICS_FILE}")
    metrics = read_lines(path)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_csv(arguments.out / "curve.csv", metrics)
    try:
        draw(arguments.out / "curve.png", metrics, arguments.title or str(arguments.run_dir))
    except ImportError:
        sys.exit("matplotlib is missing: pip install 'rmsprop-dqn[studies]'")


if __name__ == "__main__":
    main()
