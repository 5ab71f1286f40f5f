"""Figures of what learning cost and why: steps, time, and the optimizer's own diagnostics."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dqn.comparison.compute.bands import Band, LayerCurve
from dqn.comparison.compute.results import Comparison
from dqn.comparison.compute.selection import AXIS_UNITS
from dqn.comparison.show.drawing import (
    MAX_PANELS_WITH_IQM,
    Drawing,
    GroupStyle,
    axis_of_steps,
    legend,
    new_panels,
)
from dqn.comparison.show.wording import describe_target, weight_layers
from dqn.run_format import (
    EFFECTIVE_LR_QUANTILES,
    effective_lr_tag,
    eps_bound_tag,
    update_ratio_tag,
)


def sample_efficiency(comparison: Comparison) -> Drawing | None:
    selection = comparison.selection
    games = [game for game in selection.games if game in comparison.targets]
    if not games:
        return None
    style = GroupStyle(selection.groups)
    few = len(games) <= MAX_PANELS_WITH_IQM
    figure, panels = new_panels(len(games), 2 if few else 5, width=4.2 if few else 2.5)
    for axes, game in zip(panels, games, strict=True):
        for group in selection.groups:
            steps = np.sort(comparison.steps_to_target[group, game])
            reached = steps[np.isfinite(steps)]
            shares = np.arange(reached.size + 1) / steps.size
            x = np.concatenate([[0.0], reached, [selection.ends[game]]])
            style.line(axes, group, x, np.append(shares, shares[-1]), drawstyle="steps-post")
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
    style = GroupStyle(selection.groups)
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
                style.band(axes, group, Band(band.x / seconds, band.interval))
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
    style = GroupStyle(comparison.selection.groups)
    layers = comparison.layers[game]
    names = weight_layers(comparison, game)
    figure = Figure(figsize=(max(2.5 * len(names), 5.5), 6.6), layout="constrained")
    grid = figure.subplots(
        len(_LAYER_DIAGNOSTICS), len(names), sharex=True, sharey="row", squeeze=False
    )
    for panels, diagnostic in zip(grid, _LAYER_DIAGNOSTICS, strict=True):
        for axes, name in zip(panels, names, strict=True):
            for group, curves in layers.items():
                if (curve := _layer_curve(curves, diagnostic, name)) is not None:
                    style.line(axes, group, curve.x, curve.median)
                    style.fill(axes, group, curve.x, curve.low, curve.high)
            axes.set_yscale(diagnostic.scale)
            if diagnostic.scale == "linear":
                axes.set_ylim(-0.03, 1.03)
        panels[0].set_ylabel(diagnostic.label)
    for top, bottom, name in zip(grid[0], grid[-1], names, strict=True):
        top.set_title(name.removesuffix(".weight"), fontsize=8)
        axis_of_steps(bottom, AXIS_UNITS[comparison.selection.axis])
    legend(figure, grid[0, 0])
    return Drawing(
        f"effective_learning_rates_{game}",
        f"Why: effective learning rates by layer, {game}",
        f"{_LAYER_CAPTION}{style.note}",
        _describe_layers(layers, names),
        figure,
    )


class _LayerDiagnostic(NamedTuple):
    """A row of panels: what is drawn of every layer."""

    label: str
    scale: Literal["linear", "log"]
    tag: Callable[[str], str]


_LOW, _MEDIAN, _HIGH = EFFECTIVE_LR_QUANTILES
_RATES = _LayerDiagnostic(
    "effective learning rate", "log", lambda name: effective_lr_tag(name, _MEDIAN)
)
_LAYER_DIAGNOSTICS = (
    _RATES,
    _LayerDiagnostic("share bound by ε", "linear", eps_bound_tag),
    _LayerDiagnostic("update ratio ‖Δθ‖/‖θ‖", "log", update_ratio_tag),
)
_LAYER_CAPTION = (
    "Weights of each layer, from the first to the last. Top: median over runs of the median "
    "effective learning rate, lr / (√v + ε); the band spans the 5th to the 95th percentile of "
    "the layer's elements. Middle: share of elements whose denominator is mostly ε; at 1 the "
    "layer moves like SGD. Bottom: size of an update relative to the weights. In the lower two "
    "rows the band spans all runs."
)


def _layer_curve(
    curves: Mapping[str, LayerCurve], diagnostic: _LayerDiagnostic, name: str
) -> LayerCurve | None:
    """One layer's curve; the band of its rates spans the layer's elements instead of the runs."""
    curve = curves.get(diagnostic.tag(name))
    low, high = (curves.get(effective_lr_tag(name, quantile)) for quantile in (_LOW, _HIGH))
    if curve is None or diagnostic is not _RATES or low is None or high is None:
        return curve
    return curve._replace(low=low.median, high=high.median)


def _describe_layers(layers: Mapping[str, Mapping[str, LayerCurve]], names: Sequence[str]) -> str:
    medians = "; ".join(
        f"{group}: {name} {curve.median[-1]:.2g}"
        for group, curves in layers.items()
        for name in names
        if (curve := curves.get(_RATES.tag(name))) is not None
    )
    return f"{medians} (medians at the end)"
