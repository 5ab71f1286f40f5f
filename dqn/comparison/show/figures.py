"""Figures of the scores of a comparison, and the list of all figures."""

from collections.abc import Callable, Iterator, Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dqn.comparison.compute.bands import Band
from dqn.comparison.compute.results import Comparison
from dqn.comparison.compute.selection import AXIS_UNITS
from dqn.comparison.show.cost_figures import layer_rates, sample_efficiency, wall_clock
from dqn.comparison.show.drawing import (
    MAX_PANELS_WITH_IQM,
    Drawing,
    GroupStyle,
    axis_of_steps,
    interval_rows,
    legend,
    literal,
    new_panels,
)
from dqn.comparison.show.style import COLOURS, COMPARISON_STYLE, INK
from dqn.comparison.show.wording import in_words, percent, ranked_groups, score_unit

MAX_PAIRS_AS_ROWS = 6


def draw(comparison: Comparison) -> list[Drawing]:
    """Every figure that the comparison has numbers for, in reading order."""
    makers: Sequence[Callable[[Comparison], Drawing | None]] = (
        _learning_curves,
        _aggregate_curves,
        _aggregates,
        _profiles,
        _improvements,
        sample_efficiency,
        wall_clock,
    )
    with matplotlib.rc_context(COMPARISON_STYLE):  # type: ignore[arg-type]
        drawings = [drawing for make in makers if (drawing := make(comparison)) is not None]
        for game in comparison.selection.games:
            if comparison.layers[game]:
                drawings.append(layer_rates(comparison, game))
        for drawing in drawings:
            # The layout is computed here once. Else each format that is saved computes it again.
            drawing.figure.draw_without_rendering()
            drawing.figure.set_layout_engine("none")
        return drawings


def _learning_curves(comparison: Comparison) -> Drawing:
    selection = comparison.selection
    style = GroupStyle(selection.groups)
    unit = AXIS_UNITS[selection.axis]
    with_iqm = len(selection.games) <= MAX_PANELS_WITH_IQM
    kinds = [("mean", comparison.mean_curves)]
    if with_iqm:
        kinds.append(("IQM", comparison.iqm_curves))
    shown = [(game, kind, curves) for game in selection.games for kind, curves in kinds]
    figure, panels = new_panels(len(shown), 2 if with_iqm else 5, width=4.2 if with_iqm else 2.5)
    for axes, (game, kind, curves) in zip(panels, shown, strict=True):
        for group in selection.groups:
            style.band(axes, group, curves[group, game])
        axes.set_title(f"{game}: {kind} over seeds" if with_iqm else game)
        axes.set_ylabel("return" if with_iqm else "mean return")
        axis_of_steps(axes, unit)
    legend(figure, panels[0])
    return Drawing(
        "learning_curves",
        "Learning curves",
        f"Returns over {unit}: mean{' and interquartile mean' if with_iqm else ''} over seeds with "
        f"pointwise {percent(comparison)} bootstrap intervals, linear between measurements."
        f"{style.note}",
        "; ".join(_describe_curves(comparison)),
        figure,
    )


def _describe_curves(comparison: Comparison) -> Iterator[str]:
    for game in comparison.selection.games[:MAX_PANELS_WITH_IQM]:
        ends = ", ".join(
            f"{group} from {band.interval.estimate[0]:.4g} to {band.interval.estimate[-1]:.4g}"
            for group in comparison.selection.groups
            if (band := comparison.mean_curves[group, game])
        )
        yield f"{game}, mean return: {ends}"


def _aggregate_curves(comparison: Comparison) -> Drawing | None:
    curves = comparison.aggregate_curves
    if not curves:
        return None
    style = GroupStyle(comparison.selection.groups)
    figure, (axes,) = new_panels(1, 1, width=6.5, height=3.4)
    for group, band in curves.items():
        style.band(axes, group, band)
    axes.set_ylabel(f"IQM of {score_unit(comparison)}")
    axis_of_steps(axes, AXIS_UNITS[comparison.selection.axis])
    legend(figure, axes)
    ends = ", ".join(f"{g} ends at {b.interval.estimate[-1]:.3g}" for g, b in curves.items())
    return Drawing(
        "aggregate_curves",
        "Learning curves over all games",
        f"Interquartile mean of the {score_unit(comparison)} over "
        f"{len(comparison.aggregate_games)} games and all seeds, with "
        f"{percent(comparison)} stratified bootstrap intervals.",
        ends,
        figure,
    )


def _aggregates(comparison: Comparison) -> Drawing | None:
    if not comparison.aggregates:
        return None
    groups = comparison.selection.groups
    style = GroupStyle(groups)
    columns = 2 if len(comparison.aggregates) == 4 else 3
    figure, panels = new_panels(
        len(comparison.aggregates), columns, width=3.2, height=0.9 + 0.28 * len(groups)
    )
    for index, (axes, (name, intervals)) in enumerate(
        zip(panels, comparison.aggregates.items(), strict=True)
    ):
        ordered = {group: intervals[group] for group in ranked_groups(comparison)}
        interval_rows(axes, ordered, [style.colour(group) for group in ordered])
        if index % columns:
            axes.tick_params(labelleft=False)
        axes.set_title(name + (" (lower is better)" if name == "optimality gap" else ""))
    return Drawing(
        "aggregates",
        "Aggregate scores",
        f"{score_unit(comparison).capitalize()} where all runs end, and in the last panel its mean "
        f"up to there (the area under the curve), with {percent(comparison)} stratified bootstrap "
        "intervals.",
        "; ".join(
            f"{group} {name} {in_words(interval)}"
            for name, intervals in list(comparison.aggregates.items())[:1]
            for group, interval in intervals.items()
        ),
        figure,
    )


def _profiles(comparison: Comparison) -> Drawing | None:
    if not comparison.profiles:
        return None
    style = GroupStyle(comparison.selection.groups)
    figure, (axes,) = new_panels(1, 1, width=6.5, height=3.2)
    for group, interval in comparison.profiles.items():
        style.band(axes, group, Band(comparison.thresholds, interval))
    axes.set_xlabel(f"{score_unit(comparison)} τ")
    axes.set_ylabel("share of runs above τ")
    axes.set_ylim(-0.02, 1.02)
    legend(figure, axes)
    middle = len(comparison.thresholds) // 2
    return Drawing(
        "profiles",
        "Performance profiles",
        "Share of runs that score more than τ, games weighted equally. A curve that lies above "
        "another everywhere is better at every level of ambition; where they cross, neither is.",
        "; ".join(
            f"{group}: {interval.estimate[middle]:.0%} above {comparison.thresholds[middle]:.3g}"
            for group, interval in comparison.profiles.items()
        ),
        figure,
    )


def _improvements(comparison: Comparison) -> Drawing | None:
    groups = comparison.selection.groups
    pairs = {
        f"{x} > {y}": interval
        for (x, y), interval in comparison.improvements.items()
        if groups.index(x) < groups.index(y)
    }
    if not pairs:
        return None
    if len(pairs) <= MAX_PAIRS_AS_ROWS:
        figure, (axes,) = new_panels(1, 1, width=6.5, height=0.8 + 0.32 * len(pairs))
        interval_rows(axes, pairs, [INK] * len(pairs))
        axes.set_xlim(-0.02, 1.02)
        axes.axvline(0.5, color=INK, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_xlabel("probability of improvement")
    else:
        figure = _improvement_matrix(comparison)
    return Drawing(
        "improvement",
        "Probability of improvement",
        "How often a run of the first group ends above one of the second, on a game drawn at "
        f"random, ties half, with {percent(comparison)} intervals where there is room. 0.5 is a "
        "coin toss. It says how often, not by how much, and needs no human scores.",
        "; ".join(f"{pair}: {in_words(interval)}" for pair, interval in pairs.items()),
        figure,
    )


def _improvement_matrix(comparison: Comparison) -> Figure:
    groups = comparison.selection.groups
    side = 0.5 * len(groups)
    figure = Figure(figsize=(side + 3.2, side + 1.6), layout="constrained")
    axes = figure.add_subplot()
    for (x, y), interval in comparison.improvements.items():
        value = float(interval.estimate)
        row, column = groups.index(x), groups.index(y)
        colour = COLOURS[0] if value >= 0.5 else COLOURS[1]
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5), 1, 1, color=colour, alpha=abs(value - 0.5), linewidth=0
            )
        )
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8)
    names = [literal(group) for group in groups]
    axes.set_xticks(range(len(groups)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(groups)), names)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_ylabel("probability that this one ...")
    axes.set_xlabel("... outscores this one")
    axes.grid(visible=False)
    return figure
