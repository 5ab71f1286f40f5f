"""The numbers of a comparison as tables: every digit for CSV, summaries for people."""

from collections.abc import Iterable

import numpy as np

from dqn.comparison.compute.bands import Band
from dqn.comparison.compute.cautions import differing_settings
from dqn.comparison.compute.results import Comparison
from dqn.comparison.show.table import Cell, Table, format_interval
from dqn.comparison.show.wording import ranked_groups, score_unit, weight_layers
from dqn.comparison.statistics import Interval

INTERVAL_COLUMNS = ("estimate", "low", "high")


def numbers(comparison: Comparison) -> list[Table]:
    """Every number of the comparison: what is written as CSV."""
    return [
        _runs(comparison),
        _aggregates(comparison),
        _games(comparison),
        _improvements(comparison),
        _profiles(comparison),
        _curves(comparison),
        sample_efficiency(comparison),
        _wall_clock(comparison),
        _layers(comparison),
        different_settings(comparison),
    ]


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
                *_cells(interval),
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
            tags = [f"effective_lr/{name}/{q}" for q in ("p05", "p50", "p95")]
            tags += [f"effective_lr_eps_bound/{name}", f"update_ratio/{name}"]
            values = [float(curves[t].median[-1]) if t in curves else None for t in tags]
            rows.append((name.removesuffix(".weight"), group, *values))
    columns = ("layer", "group", "p05", "p50", "p95", "share bound by ε", "update ratio")
    return Table(f"layers_{game}", f"Effective learning rates at the end, {game}", columns, rows)


def _runs(comparison: Comparison) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for (group, game), runs in comparison.selection.runs.items():
        finals = comparison.finals[group, game]
        normalised = comparison.normalise(game, finals)
        steps = comparison.steps_to_target.get((group, game))
        for index, run in enumerate(runs):
            rows.append(
                (
                    group,
                    game,
                    run.seed,
                    float(finals[index]),
                    float(normalised[index])
                    if comparison.is_normalised and game in comparison.aggregate_games
                    else None,
                    float(comparison.areas[group, game][index]),
                    None if steps is None else float(steps[index]),
                    comparison.selection.ends[game],
                    run.last_step,
                    run.planned_agent_steps,
                    run.is_unfinished,
                    run.is_solved,
                    None if run.seconds is None else float(run.seconds.values[-1]),
                    run.protocol,
                    run.score_kind,
                    ", then ".join(run.codes),
                    run.source,
                )
            )
    columns = (
        "group",
        "game",
        "seed",
        "final_return",
        "normalised_score",
        "mean_return_over_training",
        "steps_to_target",
        "compared_at",
        "last_step",
        "planned_steps",
        "unfinished",
        "stopped_at_target",
        "training_seconds",
        "protocol",
        "kind",
        "code",
        "source",
    )
    return Table("runs", "Runs", columns, rows)


def _aggregates(comparison: Comparison) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (name, group, *_cells(interval))
        for name, intervals in comparison.aggregates.items()
        for group, interval in intervals.items()
    ]
    return Table("aggregates", "Aggregates", ("statistic", "group", *INTERVAL_COLUMNS), rows)


def _games(comparison: Comparison) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (game, group, *_cells(interval))
        for (group, game), interval in comparison.final_means.items()
    ]
    return Table("games", "Final mean returns", ("game", "group", *INTERVAL_COLUMNS), rows)


def _improvements(comparison: Comparison) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (score, x, y, *_cells(interval))
        for score, improvements in (
            ("final return", comparison.improvements),
            ("mean over training", comparison.improvements_over_training),
        )
        for (x, y), interval in improvements.items()
    ]
    columns = ("score", "group", "other", *INTERVAL_COLUMNS)
    return Table("improvement", "Probability of improvement", columns, rows)


def _profiles(comparison: Comparison) -> Table:
    rows = [
        (group, *cells)
        for group, interval in comparison.profiles.items()
        for cells in _band_cells(Band(comparison.thresholds, interval))
    ]
    return Table("profiles", "Profiles", ("group", "threshold", *INTERVAL_COLUMNS), rows)


def _curves(comparison: Comparison) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for statistic, curves in (("mean", comparison.mean_curves), ("IQM", comparison.iqm_curves)):
        for (group, game), band in curves.items():
            rows += [(statistic, group, game, *cells) for cells in _band_cells(band)]
    for group, band in comparison.aggregate_curves.items():
        rows += [("normalised IQM", group, "all games", *cells) for cells in _band_cells(band)]
    columns = ("statistic", "group", "game", comparison.selection.axis, *INTERVAL_COLUMNS)
    return Table("curves", "Learning curves", columns, rows)


def _wall_clock(comparison: Comparison) -> Table:
    rows = [
        (group, game, *cells)
        for (group, game), band in comparison.time_curves.items()
        for cells in _band_cells(band)
    ]
    columns = ("group", "game", "training_seconds", *INTERVAL_COLUMNS)
    return Table("wall_clock", "Mean return over time", columns, rows)


def _layers(comparison: Comparison) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for game, by_group in comparison.layers.items():
        for group, curves in by_group.items():
            for tag, curve in curves.items():
                points = zip(*(values.tolist() for values in curve), strict=True)
                rows += [(game, group, tag, *point) for point in points]
    columns = ("game", "group", "tag", comparison.selection.axis, "median", "lowest", "highest")
    return Table("effective_learning_rates", "Diagnostics by layer", columns, rows)


def _cells(interval: Interval) -> tuple[float, float, float]:
    return float(interval.estimate), float(interval.low), float(interval.high)


def _band_cells(band: Band) -> Iterable[tuple[Cell, ...]]:
    return zip(band.x.tolist(), *(values.tolist() for values in band.interval), strict=True)


def _joined(values: Iterable[str], limit: int = 12) -> str:
    names = list(dict.fromkeys(values))
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
