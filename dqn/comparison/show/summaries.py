"""Summaries of a comparison for people: the tables of the page and of the terminal."""

from collections.abc import Iterable

import numpy as np

from dqn.comparison.compute.cautions import differing_settings
from dqn.comparison.compute.results import Comparison
from dqn.comparison.show.table import Cell, Table, format_interval, interval_cells
from dqn.comparison.show.wording import ranked_groups, score_unit, weight_layers
from dqn.run_format import (
    EFFECTIVE_LR_QUANTILES,
    effective_lr_tag,
    eps_bound_tag,
    update_ratio_tag,
)


def groups(comparison: Comparison) -> Table:
    """What each group consists of."""
    selection = comparison.selection
    rows: list[tuple[Cell, ...]] = []
    for group in selection.groups:
        runs = selection.of_group(group)
        rows.append(
            (
                group,
                len(runs),
                len(selection.games),
                _joined(run.seed for run in runs),
                _joined(run.protocol or "unknown" for run in runs),
                _joined(run.score_kind for run in runs),
                sum(run.is_unfinished for run in runs),
                sum(run.is_solved for run in runs),
            )
        )
    columns = (
        "group",
        "runs",
        "games",
        "seeds",
        "protocol",
        "kind of return",
        "unfinished",
        "stopped at target",
    )
    return Table("groups", "Groups of runs", columns, rows)


def different_settings(comparison: Comparison) -> Table:
    """Settings in which groups differ, a column each; where one mixes them, all its values."""
    selection = comparison.selection
    rows: list[tuple[Cell, ...]] = []
    for key in differing_settings(selection.all_runs):
        cells = []
        for group in selection.groups:
            known = [run.settings for run in selection.of_group(group) if run.settings]
            cells.append(_joined(str(s[key]) if key in s else "" for s in known))
        rows.append((key, *cells))
    return Table("settings", "Settings in which groups differ", ("key", *selection.groups), rows)


def common_settings(comparison: Comparison) -> Table:
    """Settings that all runs share whose configuration is known."""
    runs = [run for run in comparison.selection.all_runs if run.settings]
    differing = differing_settings(runs)
    rows: list[tuple[Cell, ...]] = []
    if runs:
        for key, value in sorted(runs[0].settings.items()):
            same = all(key in run.settings and run.settings[key] == value for run in runs)
            if same and key not in differing:
                rows.append((key, str(value)))
    return Table("common", "Settings that all runs share", ("key", "value"), rows)


def aggregate_summary(comparison: Comparison) -> Table:
    """One row a group, best IQM first: the table of the terminal and of the top of the page."""
    selection = comparison.selection
    names = list(comparison.aggregates)
    rows: list[tuple[Cell, ...]] = [
        (
            group,
            len(selection.of_group(group)),
            *(format_interval(comparison.aggregates[name][group]) for name in names),
        )
        for group in ranked_groups(comparison)
    ]
    level = f"{comparison.inference.confidence:.0%}"
    games = len(comparison.aggregate_games)
    return Table(
        "summary",
        f"{score_unit(comparison).capitalize()} over {games} game{'s' * (games != 1)}, with "
        f"{level} intervals",
        ("group", "runs", *names),
        rows,
    )


def game_summary(comparison: Comparison) -> Table:
    """Final raw returns, game by game."""
    selection = comparison.selection
    rows: list[tuple[Cell, ...]] = [
        (
            game,
            group,
            len(selection.runs[group, game]),
            selection.ends[game],
            format_interval(comparison.final_means[group, game]),
            float(comparison.finals[group, game].min()),
            float(comparison.finals[group, game].max()),
        )
        for game in selection.games
        for group in selection.groups
    ]
    columns = ("game", "group", "runs", f"at {selection.axis}", "mean return", "lowest", "highest")
    return Table("final_returns", "Returns of the last evaluation", columns, rows)


def sample_efficiency(comparison: Comparison) -> Table:
    """Steps to the target return."""
    rows: list[tuple[Cell, ...]] = []
    for (group, game), steps in comparison.steps_to_target.items():
        interval = comparison.median_steps_to_target[group, game]
        rows.append(
            (
                game,
                comparison.targets[game],
                group,
                int(np.isfinite(steps).sum()),
                steps.size,
                *interval_cells(interval),
            )
        )
    columns = ("game", "target return", "group", "reached", "runs", "median steps", "low", "high")
    return Table("sample_efficiency", "Steps to the target return", columns, rows)


def improvement_summary(comparison: Comparison) -> Table:
    """Every ordered pair of groups, with its interval."""
    rows: list[tuple[Cell, ...]] = [
        (
            *pair,
            format_interval(interval),
            format_interval(comparison.improvements_over_training[pair]),
        )
        for pair, interval in comparison.improvements.items()
    ]
    columns = ("a run of", "outscores one of", "in the end", "in its mean over training")
    return Table("pairs", "Probability of improvement", columns, rows)


def layers_at_end(comparison: Comparison, game: str) -> Table:
    """Diagnostics of every weight where the curves end."""
    rows: list[tuple[Cell, ...]] = []
    for name in weight_layers(comparison, game):
        for group, curves in comparison.layers[game].items():
            tags = [effective_lr_tag(name, quantile) for quantile in EFFECTIVE_LR_QUANTILES]
            tags += [eps_bound_tag(name), update_ratio_tag(name)]
            values = [float(curves[t].median[-1]) if t in curves else None for t in tags]
            rows.append((name.removesuffix(".weight"), group, *values))
    columns = ("layer", "group", *EFFECTIVE_LR_QUANTILES, "share bound by ε", "update ratio")
    return Table(f"layers_{game}", f"Effective learning rates at the end, {game}", columns, rows)


def _joined(values: Iterable[str], limit: int = 12) -> str:
    names = list(dict.fromkeys(values))
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
