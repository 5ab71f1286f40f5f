"""Figures of what learning cost and why: steps, time, and the optimizer's own diagnostics."""

import numpy as np
from matplotlib.figure import Figure

from dqn.comparison.compute.bands import Band
from dqn.comparison.compute.results import Comparison
from dqn.comparison.compute.selection import AXIS_UNITS
from dqn.comparison.show.drawing import (
    MAX_PANELS_WITH_IQM,
    Drawing,
    Ink,
    axis_of_steps,
    legend,
    new_panels,
)
from dqn.comparison.show.wording import describe_target, weight_layers


def sample_efficiency(comparison: Comparison) -> Drawing | None:
    selection = comparison.selection
    games = [game for game in selection.games if game in comparison.targets]
    if not games:
        return None
    ink = Ink(selection.groups)
    few = len(games) <= MAX_PANELS_WITH_IQM
    figure, panels = new_panels(len(games), 2 if few else 5, width=4.2 if few else 2.5)
    for axes, game in zip(panels, games, strict=True):
        for group in selection.groups:
            steps = np.sort(comparison.steps_to_target[group, game])
            reached = steps[np.isfinite(steps)]
            shares = np.arange(reached.size + 1) / steps.size
            x = np.concatenate([[0.0], reached, [selection.ends[game]]])
            ink.line(axes, group, x, np.append(shares, shares[-1]), drawstyle="steps-post")
        axes.set_title(f"{game}: return ≥ {comparison.targets[game]:.4g}")
        axes.set_ylabel("share of runs there")
        axes.set_ylim(-0.03, 1.03)
        axis_of_steps(axes, AXIS_UNITS[selection.axis])
    legend(figure, panels[0])
    return Drawing(
        "sample_efficiency",
        "Sample efficiency",
        f"Share of runs that have reached the target return at least once, over "
        f"{AXIS_UNITS[selection.axis]}. {describe_target(comparison)}",
        "; ".join(
            f"{game}, {group}: {np.isfinite(steps).sum()} of {steps.size} runs reached it"
            for game in games[:MAX_PANELS_WITH_IQM]
            for group in selection.groups
            if (steps := comparison.steps_to_target[group, game]).size
        ),
        figure,
    )


def wall_clock(comparison: Comparison) -> Drawing | None:
    selection = comparison.selection
    games = [
        game
        for game in selection.games
        if any((group, game) in comparison.time_curves for group in selection.groups)
    ]
    if not games:
        return None
    ink = Ink(selection.groups)
    few = len(games) <= MAX_PANELS_WITH_IQM
    figure, panels = new_panels(len(games), 2 if few else 5, width=4.2 if few else 2.5)
    longest = max(float(band.x[-1]) for band in comparison.time_curves.values())
    unit, seconds = ("hours", 3600.0) if longest > 7200 else ("minutes", 60.0)
    if longest < 120:
        unit, seconds = "seconds", 1.0
    for axes, game in zip(panels, games, strict=True):
        for group in selection.groups:
            band = comparison.time_curves.get((group, game))
            if band is not None:
                ink.band(axes, group, Band(band.x / seconds, band.interval))
        axes.set_title(game)
        axes.set_ylabel("mean return")
        axes.set_xlabel(f"{unit} of training")
    legend(figure, panels[0])
    return Drawing(
        "wall_clock",
        "Wall clock",
        "Mean return over the time spent acting, stepping and learning; evaluations are left out "
        "for our runs. Comparable only between runs made on one machine under one load.",
        "; ".join(
            f"{game}, {group}: {band.interval.estimate[-1]:.4g} after {band.x[-1] / seconds:.3g} "
            f"{unit}"
            for (group, game), band in list(comparison.time_curves.items())[:12]
        ),
        figure,
    )


def layer_rates(comparison: Comparison, game: str) -> Drawing:
    selection = comparison.selection
    ink = Ink(selection.groups)
    layers = comparison.layers[game]
    names = weight_layers(comparison, game)
    rows = (
        ("effective learning rate", "effective_lr/{}/p50", "log"),
        ("share bound by ε", "effective_lr_eps_bound/{}", "linear"),
        ("update ratio ‖Δθ‖/‖θ‖", "update_ratio/{}", "log"),
    )
    figure = Figure(figsize=(max(2.5 * len(names), 5.5), 6.6), layout="constrained")
    grid = figure.subplots(len(rows), len(names), sharex=True, sharey="row", squeeze=False)
    for row, (label, pattern, scale) in enumerate(rows):
        for column, name in enumerate(names):
            axes = grid[row, column]
            for group, curves in layers.items():
                curve = curves.get(pattern.format(name))
                if curve is None:
                    continue
                ink.line(axes, group, curve.x, curve.median)
                low, high = curve.low, curve.high
                if row == 0 and f"effective_lr/{name}/p95" in curves:
                    low = curves[f"effective_lr/{name}/p05"].median
                    high = curves[f"effective_lr/{name}/p95"].median
                ink.fill(axes, group, curve.x, low, high)
            axes.set_yscale(scale)
            if scale == "linear":
                axes.set_ylim(-0.03, 1.03)
            if row == 0:
                axes.set_title(name.removesuffix(".weight"), fontsize=8)
            if column == 0:
                axes.set_ylabel(label)
            if row == len(rows) - 1:
                axis_of_steps(axes, AXIS_UNITS[selection.axis])
    legend(figure, grid[0, 0])
    return Drawing(
        f"effective_learning_rates_{game}",
        f"Why: effective learning rates by layer, {game}",
        "Weights of each layer, from the first to the last. Top: median over runs of the median "
        "effective learning rate, lr / (√v + ε); the band spans the 5th to the 95th percentile of "
        "the layer's elements. Middle: share of elements whose denominator is mostly ε; at 1 the "
        "layer moves like SGD. Bottom: size of an update relative to the weights. In the lower two "
        f"rows the band spans all runs.{ink.note}",
        "; ".join(
            f"{group}: {name} {curve.median[-1]:.2g}"
            for group, curves in layers.items()
            for name in names
            if (curve := curves.get(f"effective_lr/{name}/p50")) is not None
        )
        + " (medians at the end)",
        figure,
    )
