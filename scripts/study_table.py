"""A sweep's tables in Markdown, computed again from its runs and held against ``dqn-compare``'s.

    dqn-compare runs/sweep_cartpole --skip-unfinished --out cc
    python scripts/study_table.py runs/sweep_cartpole cc --target 475 --at 2000 10000 \\
        --layers torso.layers.linear1.weight torso.layers.linear2.weight head.linear.weight

For one game that is compared in raw returns. Scores are computed again here, from
``metrics.jsonl`` alone and without any of ``dqn``'s code; where one differs from the comparison's,
the exit status is 1. Only intervals are taken from it.

The second table holds, by layer, the median effective learning rate and in brackets the share of
elements at the ε bound, at the diagnostics nearest to each step of ``--at``; and ‖Δθ‖ / ‖θ‖ as a
mean over the run. All three are medians over seeds.
"""

import argparse
import csv
import json
import math
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

Points = list[tuple[float, float]]
Metrics = dict[Path, list[dict[str, Any]]]
"""A run's directory -> the lines of its metrics."""
Interval = tuple[float, float, float]
"""Estimate, lower and upper end."""

# dqn-compare's: an evaluation so little later than a step counts as made at it.
STEP_TOLERANCE = 0.01
LAST, AREA = "IQM", "mean over training"


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of what is left of the sorted values without a quarter, rounded down, at each end.

    >>> interquartile_mean([9.0, 1.0, 2.0, 4.0])
    3.0
    """
    cut = len(values) // 4
    return mean(sorted(values)[cut : len(values) - cut])


def mean_over_steps(points: Points, end: float) -> float:
    """Mean height of the polyline through ``points``, from the first one to ``end``.

    >>> mean_over_steps([(0.0, 0.0), (10.0, 4.0)], 5.0)
    1.0
    """
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= end:
            break
        right = min(x1, end)
        y_right = y0 + (y1 - y0) * (right - x0) / (x1 - x0)
        area += (right - x0) * (y0 + y_right) / 2
    return area / (end - points[0][0])


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_intervals(path: Path) -> dict[tuple[str, str], Interval]:
    """(statistic, group) -> interval, of a comparison's ``aggregates.csv``."""
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row["statistic"], row["group"]): (
                float(row["estimate"]),
                float(row["low"]),
                float(row["high"]),
            )
            for row in csv.DictReader(file)
        }


def compared_runs(path: Path, folder: Path) -> dict[str, list[Path]]:
    """Group -> directories of its runs, of a comparison's ``runs.csv``.

    The directories are looked up below ``folder`` by their last three parts, game/setting/seed.
    """
    runs = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            runs[row["group"]].append(folder.joinpath(*Path(row["source"]).parts[-3:]))
    return dict(runs)


def points(lines: list[dict[str, Any]], tag: str) -> Points:
    """(step, value) of one metric."""
    return [(line["step"], line[tag]) for line in lines if tag in line]


def nearest(values: Points, step: float) -> float:
    """The value logged nearest to ``step``; NaN where there is none.

    >>> nearest([(0, 5.0), (10, 7.0)], 6)
    7.0
    """
    return min(values, key=lambda point: abs(point[0] - step))[1] if values else math.nan


def score_rows(
    metrics: Metrics,
    runs: dict[str, list[Path]],
    intervals: dict[tuple[str, str], Interval],
    target: float,
) -> dict[str, tuple[str, ...]]:
    """Setting -> its cells, best mean over training first; ValueError where numbers differ."""
    curves = {run: points(lines, "eval/return_mean") for run, lines in metrics.items()}
    # As in the comparison: up to the step that every run has reached.
    end = min(curve[-1][0] for curve in curves.values())
    table = []
    for group, members in runs.items():
        scores = []
        for run in members:
            steps = [step for step, _ in curves[run]]
            scores.append(curves[run][bisect_right(steps, end * (1 + STEP_TOLERANCE)) - 1][1])
        areas = [mean_over_steps(curves[run], end) for run in members]
        recomputed = {LAST: interquartile_mean(scores), AREA: mean(areas)}
        for statistic, value in recomputed.items():
            compared = intervals[statistic, group][0]
            if not math.isclose(value, compared, rel_tol=1e-9, abs_tol=1e-9):
                raise ValueError(f"{statistic} of {group}: {value} here, {compared} in dqn-compare")
        reached = sum(any(value >= target for _, value in curves[run]) for run in members)
        cells = (
            str(len(members)),
            shown(intervals[AREA, group]),
            shown(intervals[LAST, group]),
            str(reached),
        )
        table.append((recomputed[AREA], group, cells))
    return {group: cells for _, group, cells in sorted(table, reverse=True)}


def layer_cells(
    metrics: Metrics, members: list[Path], layers: Sequence[str], at: Sequence[float]
) -> tuple[str, ...]:
    """Rates and shares at each step, then the mean update ratio, layer by layer."""

    def median_of(value: Callable[[Points], float], tag: str) -> str:
        values = [value(points(metrics[run], tag)) for run in members]
        return "—" if any(map(math.isnan, values)) else f"{median(values):.2g}"

    cells = []
    for layer in layers:
        for step in at:
            there = partial(nearest, step=step)
            rate = median_of(there, f"effective_lr/{layer}/p50")
            bound = median_of(there, f"effective_lr_eps_bound/{layer}")
            cells.append(f"{rate} ({bound})")
        cells.append(median_of(mean_value, f"update_ratio/{layer}"))
    return tuple(cells)


def mean_value(values: Points) -> float:
    """Mean of all values; NaN where there is none."""
    return mean(value for _, value in values) if values else math.nan


def print_table(header: Sequence[str], rows: dict[str, tuple[str, ...]]) -> None:
    print(f"| {' | '.join(header)} |")
    print("|" + "---|" * len(header))
    for name, cells in rows.items():
        print(f"| `{name}` | {' | '.join(cells)} |")


def shown(interval: Interval) -> str:
    """Three digits of each, at most one behind the point.

    >>> shown((286.9, 253.1, 324.0)), shown((5.238, 4.9, 10.41))
    ('287 [253, 324]', '5.2 [4.9, 10.4]')
    """
    digits = 0 if max(map(abs, interval)) >= 100 else 1
    estimate, low, high = (f"{value:.{digits}f}" for value in interval)
    return f"{estimate} [{low}, {high}]"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="the sweep's directory")
    parser.add_argument("comparison", type=Path, help="what dqn-compare wrote about it")
    parser.add_argument("--target", type=float, required=True, metavar="RETURN")
    parser.add_argument("--layers", nargs="+", default=[], metavar="PARAMETER")
    parser.add_argument("--at", nargs="+", type=float, default=[], metavar="STEP")
    arguments = parser.parse_args()
    layers, at = arguments.layers, arguments.at
    try:
        runs = compared_runs(arguments.comparison / "runs.csv", arguments.runs)
        intervals = read_intervals(arguments.comparison / "aggregates.csv")
        metrics = {
            run: read_lines(run / "metrics.jsonl") for group in runs.values() for run in group
        }
        scores = score_rows(metrics, runs, intervals, arguments.target)
    except (OSError, ValueError) as error:
        print(f"study_table: {error}", file=sys.stderr)
        return 1
    reached = f"seeds that reached {arguments.target:g}"
    print_table(("setting", "seeds", "mean over training", "last evaluation, IQM", reached), scores)
    if layers:
        print()
        columns = [
            column
            for layer in layers
            for column in (*(f"`{layer}` at {step:g}" for step in at), "‖Δθ‖/‖θ‖")
        ]
        cells = {group: layer_cells(metrics, runs[group], layers, at) for group in scores}
        print_table(("setting", *columns), cells)
    return 0


if __name__ == "__main__":
    sys.exit(main())
