"""The numbers of a comparison: every statistic of every group, with its interval."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dqn.comparison.compute import bands
from dqn.comparison.compute.bands import Band, LayerCurve
from dqn.comparison.compute.intervals import Inference, Statistic, normalise
from dqn.comparison.compute.selection import GroupGame, Selection
from dqn.comparison.statistics import (
    Float64Array,
    Interval,
    area_under_curve,
    interquartile_mean,
    mean_of_games,
    median_of_games,
    median_steps,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    steps_to_score,
)

PROFILE_POINTS = 101
# A target lies this share of the way from the mean first score to the best group's final mean.
TARGET_FRACTION = 0.75


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All numbers of a report.

    Attributes:
        selection: what is compared.
        inference: how.
        finals: raw score of each run at the end of its game's common steps.
        areas: raw mean score of each run up to there.
        final_means: mean over runs of the scores at the end.
        aggregate_games: games that aggregates run over; empty where none can be formed.
        is_normalised: whether aggregates are of normalised scores, else of raw returns.
        aggregates: by statistic's name and group.
        improvements: probability that the first group's run outscores the second's in the end.
        improvements_over_training: the same of their mean scores over training.
        thresholds: of the profiles.
        profiles: by group.
        mean_curves: by group and game.
        iqm_curves: by group and game.
        aggregate_curves: IQM of normalised scores over games, by group; empty below two games.
        targets: the return whose reaching is timed, by game; none where no group learned.
        steps_to_target: of each run, inf where it never got there.
        median_steps_to_target: with intervals.
        time_curves: mean return over seconds of training, where these are known.
        layers: by game, group and tag.
        warnings: for the reader.
    """

    selection: Selection
    inference: Inference
    finals: Mapping[GroupGame, Float64Array]
    areas: Mapping[GroupGame, Float64Array]
    final_means: Mapping[GroupGame, Interval]
    aggregate_games: tuple[str, ...]
    is_normalised: bool
    aggregates: Mapping[str, Mapping[str, Interval]]
    improvements: Mapping[tuple[str, str], Interval]
    improvements_over_training: Mapping[tuple[str, str], Interval]
    thresholds: Float64Array
    profiles: Mapping[str, Interval]
    mean_curves: Mapping[GroupGame, Band]
    iqm_curves: Mapping[GroupGame, Band]
    aggregate_curves: Mapping[str, Band]
    targets: Mapping[str, float]
    steps_to_target: Mapping[GroupGame, Float64Array]
    median_steps_to_target: Mapping[GroupGame, Interval]
    time_curves: Mapping[GroupGame, Band]
    layers: Mapping[str, Mapping[str, Mapping[str, LayerCurve]]]
    warnings: tuple[str, ...]

    def normalise(self, game: str, scores: Float64Array) -> Float64Array:
        """Scores in the unit of the aggregates."""
        return normalise(scores, self.inference.reference(game) if self.is_normalised else None)


def compare(selection: Selection, inference: Inference) -> Comparison:
    """Compute everything."""
    keys = list(selection.runs)
    finals = {key: _final_scores(selection, key) for key in keys}
    areas = {key: _areas(selection, key) for key in keys}
    pool = _pool(selection, inference)
    scores = {group: pool.scores(finals, group) for group in selection.groups}
    thresholds = _thresholds(scores)
    targets = _targets(selection, finals, inference)
    steps_to_target = _steps_to_target(selection, targets)
    return Comparison(
        selection=selection,
        inference=inference,
        finals=finals,
        areas=areas,
        final_means={key: inference.interval(mean_of_games, [finals[key]]) for key in keys},
        aggregate_games=pool.games,
        is_normalised=pool.is_normalised,
        aggregates=_aggregates(pool, scores, areas),
        improvements=_improvements(selection, finals, inference),
        improvements_over_training=_improvements(selection, areas, inference),
        thresholds=thresholds,
        profiles={
            group: inference.interval(lambda s: performance_profile(s, thresholds), s)
            for group, s in scores.items()
            if pool.games
        },
        mean_curves={key: bands.curve(selection, key, inference, mean_of_games) for key in keys},
        iqm_curves={
            key: bands.curve(selection, key, inference, interquartile_mean) for key in keys
        },
        aggregate_curves=bands.aggregate_curves(selection, inference, pool.games),
        targets=targets,
        steps_to_target=steps_to_target,
        median_steps_to_target={
            key: inference.interval(median_steps, [steps]) for key, steps in steps_to_target.items()
        },
        time_curves=bands.time_curves(selection, inference),
        layers={game: bands.layers(selection, game) for game in selection.games},
        warnings=(*selection.warnings, *pool.warnings),
    )


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """The games whose scores are pooled in aggregates, and the unit of these scores.

    Attributes:
        inference: how numbers are computed.
        games: empty where scores cannot be pooled.
        is_normalised: whether scores are normalised, else raw returns.
        warnings: what the reader must know.
    """

    inference: Inference
    games: tuple[str, ...]
    is_normalised: bool
    warnings: tuple[str, ...] = ()

    def scores(self, raw: Mapping[GroupGame, Float64Array], group: str) -> list[Float64Array]:
        """A group's scores of each game, in the unit of the aggregates."""
        return [
            normalise(
                raw[group, game], self.inference.reference(game) if self.is_normalised else None
            )
            for game in self.games
        ]


def _pool(selection: Selection, inference: Inference) -> _Pool:
    referenced = tuple(game for game in selection.games if inference.reference(game))
    missing = tuple(game for game in selection.games if game not in referenced)
    if not missing:
        return _Pool(inference=inference, games=referenced, is_normalised=True)
    hint = "--reference GAME=LOW,HIGH gives the scores that count as 0 and 1"
    if referenced:
        games, consequence = referenced, "left out of the aggregates"
    elif len(missing) == 1:
        games, consequence = missing, "aggregates are of raw returns"
    else:
        games, consequence = (), "returns of several games cannot be averaged"
    warning = f"No human score is known for {', '.join(missing)}: {consequence}. {hint}."
    return _Pool(
        inference=inference, games=games, is_normalised=bool(referenced), warnings=(warning,)
    )


def _aggregates(
    pool: _Pool,
    scores: Mapping[str, list[Float64Array]],
    areas: Mapping[GroupGame, Float64Array],
) -> dict[str, dict[str, Interval]]:
    """Every statistic of the final scores, and the mean of the scores over training."""
    if not pool.games:
        return {}
    aggregates = {
        name: {group: pool.inference.interval(statistic, s) for group, s in scores.items()}
        for name, statistic in _statistics(len(pool.games), pool.is_normalised).items()
    }
    aggregates["mean over training"] = {
        group: pool.inference.interval(mean_of_games, pool.scores(areas, group)) for group in scores
    }
    return aggregates


def _statistics(num_games: int, is_normalised: bool) -> dict[str, Statistic]:
    statistics: dict[str, Statistic] = {"IQM": interquartile_mean}
    if num_games > 1:  # With one game the median over games is its mean.
        statistics["median"] = median_of_games
    statistics["mean"] = mean_of_games
    if is_normalised:
        statistics["optimality gap"] = optimality_gap
    return statistics


def _final_scores(selection: Selection, key: GroupGame) -> Float64Array:
    end = selection.ends[key[1]]
    return np.array([run.scores.until(end).values[-1] for run in selection.runs[key]])


def _areas(selection: Selection, key: GroupGame) -> Float64Array:
    end = selection.ends[key[1]]
    return np.array([area_under_curve(*run.scores, end) for run in selection.runs[key]])


def _improvements(
    selection: Selection, scores: Mapping[GroupGame, Float64Array], inference: Inference
) -> dict[tuple[str, str], Interval]:
    # Ranks within a game need no normalisation, so every shared game counts.
    by_group = {g: [scores[g, game] for game in selection.games] for g in selection.groups}
    return {
        (x, y): inference.interval(probability_of_improvement, by_group[x], by_group[y])
        for x in selection.groups
        for y in selection.groups
        if x != y
    }


def _thresholds(scores: Mapping[str, list[Float64Array]]) -> Float64Array:
    values = [game for games in scores.values() for game in games]
    if not values:
        return np.empty(0)
    pooled = np.concatenate(values)
    low, high = float(pooled.min()), float(pooled.max())
    return np.linspace(low, max(high, low + 1e-9), PROFILE_POINTS)


def _targets(
    selection: Selection, finals: Mapping[GroupGame, Float64Array], inference: Inference
) -> dict[str, float]:
    if inference.target is not None:
        return dict.fromkeys(selection.games, inference.target)
    targets = {}
    for game in selection.games:
        first = float(
            np.mean(
                [run.scores.values[0] for g in selection.groups for run in selection.runs[g, game]]
            )
        )
        best = max(float(finals[group, game].mean()) for group in selection.groups)
        if best > first:
            targets[game] = first + TARGET_FRACTION * (best - first)
    return targets


def _steps_to_target(
    selection: Selection, targets: Mapping[str, float]
) -> dict[GroupGame, Float64Array]:
    return {
        (group, game): np.array(
            [steps_to_score(*run.scores.until(selection.ends[game]), targets[game]) for run in runs]
        )
        for (group, game), runs in selection.runs.items()
        if game in targets
    }
