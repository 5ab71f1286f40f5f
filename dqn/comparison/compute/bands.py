"""Curves with their intervals: over steps, over seconds, and of what the optimizer did."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dqn.comparison.compute.intervals import Inference, Statistic, normalise
from dqn.comparison.compute.selection import GroupGame, Selection
from dqn.comparison.run import Curve, Run
from dqn.comparison.statistics import (
    Float64Array,
    GameScores,
    Interval,
    interquartile_mean,
    mean_of_games,
)

MAX_CURVE_POINTS = 60


class Band(NamedTuple):
    """A curve with its interval at each point of ``x`` (steps or seconds)."""

    x: Float64Array
    interval: Interval


class LayerCurve(NamedTuple):
    """One diagnostic of one layer: the median over runs, and the outermost runs."""

    x: Float64Array
    median: Float64Array
    low: Float64Array
    high: Float64Array


def _grid(runs: Sequence[Run], end: float) -> Float64Array:
    """Where the curves of one game are compared: from where all have begun to where all are."""
    begin = min(max(float(run.scores.steps[0]) for run in runs), end)
    points = max(int((run.scores.steps <= end).sum()) for run in runs)
    return np.linspace(begin, end, int(np.clip(points, 2, MAX_CURVE_POINTS)))


def _game_grid(selection: Selection, game: str) -> Float64Array:
    runs = [run for group in selection.groups for run in selection.runs[group, game]]
    return _grid(runs, selection.ends[game])


def curve(selection: Selection, key: GroupGame, inference: Inference, statistic: Statistic) -> Band:
    x = _game_grid(selection, key[1])
    return Band(x, _interval_of_curves(inference, statistic, [_stack(selection.runs[key], x)]))


def _stack(runs: Sequence[Run], x: Float64Array) -> Float64Array:
    """``[points, runs]``"""
    return np.stack([run.scores.at(x) for run in runs], axis=-1)


def _interval_of_curves(inference: Inference, statistic: Statistic, curves: GameScores) -> Interval:
    """A few points at a time, all with the same draws: sixty games fill memory otherwise."""
    width = 10
    parts = [
        inference.interval(statistic, [game[begin : begin + width] for game in curves])
        for begin in range(0, curves[0].shape[0], width)
    ]
    return Interval(*(np.concatenate(ends) for ends in zip(*parts, strict=True)))


def aggregate_curves(
    selection: Selection, inference: Inference, games: Sequence[str]
) -> dict[str, Band]:
    if len(games) < 2:
        return {}
    grids = [_game_grid(selection, game) for game in games]
    begin, end = max(float(g[0]) for g in grids), min(float(g[-1]) for g in grids)
    x = np.linspace(min(begin, end), end, max(g.size for g in grids))
    return {
        group: Band(
            x,
            _interval_of_curves(
                inference,
                interquartile_mean,
                [
                    normalise(_stack(selection.runs[group, game], x), inference.reference(game))
                    for game in games
                ],
            ),
        )
        for group in selection.groups
    }


def time_curves(selection: Selection, inference: Inference) -> dict[GroupGame, Band]:
    bands = {}
    for key, runs in selection.runs.items():
        end = selection.ends[key[1]]
        timed = [curve for run in runs if (curve := _over_time(run, end)) is not None]
        if len(timed) < len(runs):
            continue
        stops = [
            float("inf") if run.is_solved and run.last_step < end else float(curve.steps[-1])
            for run, curve in zip(runs, timed, strict=True)
        ]
        stop = min(stops)
        if np.isinf(stop):
            stop = max(float(curve.steps[-1]) for curve in timed)
        begin = min(max(float(curve.steps[0]) for curve in timed), stop)
        x = np.linspace(
            begin, stop, max(2, min(MAX_CURVE_POINTS, max(c.steps.size for c in timed)))
        )
        scores = np.stack([curve.at(x) for curve in timed], axis=-1)
        bands[key] = Band(x, _interval_of_curves(inference, mean_of_games, [scores]))
    return bands


def _over_time(run: Run, end: float) -> Curve | None:
    """Scores up to ``end`` over seconds of training."""
    if run.seconds is None:
        return None
    scores = run.scores.until(end)
    return Curve(run.seconds.at(scores.steps), scores.values)


def layers(selection: Selection, game: str) -> dict[str, dict[str, LayerCurve]]:
    layers = {}
    for group in selection.groups:
        runs = selection.runs[group, game]
        tags = dict.fromkeys(tag for run in runs for tag in run.diagnostics)
        curves = {}
        for tag in tags:
            members = [c for run in runs if (c := run.diagnostics.get(tag)) and c.steps.size]
            if members:
                curves[tag] = _layer_curve(members, selection.ends[game])
        if curves:
            layers[group] = curves
    return layers


def _layer_curve(curves: Sequence[Curve], end: float) -> LayerCurve:
    begin = min(max(float(curve.steps[0]) for curve in curves), end)
    points = max(int((curve.steps <= end).sum()) for curve in curves)
    x = np.linspace(begin, end, int(np.clip(points, 2, MAX_CURVE_POINTS)))
    values = np.stack([curve.at(x) for curve in curves])
    return LayerCurve(x, np.median(values, axis=0), values.min(axis=0), values.max(axis=0))
