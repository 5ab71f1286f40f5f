"""Every number of a comparison, to its last digit: the tables that are written as CSV."""

from collections.abc import Iterable

from dqn.comparison.compute.bands import Band
from dqn.comparison.compute.results import Comparison
from dqn.comparison.compute.selection import GroupGame
from dqn.comparison.show.summaries import different_settings, sample_efficiency
from dqn.comparison.show.table import Cell, Table, interval_cells

INTERVAL_COLUMNS = ("estimate", "low", "high")


def numbers(comparison: Comparison) -> list[Table]:
    """All tables, in the order in which they are written."""
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


def _runs(comparison: Comparison) -> Table:
    cells = [
        _run_cells(comparison, key, index)
        for key, runs in comparison.selection.runs.items()
        for index in range(len(runs))
    ]
    return Table("runs", "Runs", tuple(cells[0]), [tuple(row.values()) for row in cells])


def _run_cells(comparison: Comparison, key: GroupGame, index: int) -> dict[str, Cell]:
    """The cells of one run by column."""
    group, game = key
    run = comparison.selection.runs[key][index]
    finals = comparison.finals[key]
    has_normalised = comparison.is_normalised and game in comparison.aggregate_games
    steps = comparison.steps_to_target.get(key)
    return {
        "group": group,
        "game": game,
        "seed": run.seed,
        "final_return": float(finals[index]),
        "normalised_score": (
            float(comparison.normalise(game, finals)[index]) if has_normalised else None
        ),
        "mean_return_over_training": float(comparison.areas[key][index]),
        "steps_to_target": None if steps is None else float(steps[index]),
        "compared_at": comparison.selection.ends[game],
        "last_step": run.last_step,
        "planned_steps": run.planned_agent_steps,
        "unfinished": run.is_unfinished,
        "stopped_at_target": run.is_solved,
        "training_seconds": None if run.seconds is None else float(run.seconds.values[-1]),
        "protocol": run.protocol,
        "kind": run.score_kind,
        "code": ", then ".join(run.codes),
        "source": run.source,
    }


def _aggregates(comparison: Comparison) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (name, group, *interval_cells(interval))
        for name, intervals in comparison.aggregates.items()
        for group, interval in intervals.items()
    ]
    return Table("aggregates", "Aggregates", ("statistic", "group", *INTERVAL_COLUMNS), rows)


def _games(comparison: Comparison) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (game, group, *interval_cells(interval))
        for (group, game), interval in comparison.final_means.items()
    ]
    return Table("games", "Final mean returns", ("game", "group", *INTERVAL_COLUMNS), rows)


def _improvements(comparison: Comparison) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (score, x, y, *interval_cells(interval))
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


def _band_cells(band: Band) -> Iterable[tuple[Cell, ...]]:
    return zip(band.x.tolist(), *(values.tolist() for values in band.interval), strict=True)
