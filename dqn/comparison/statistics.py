"""Statistics of few runs on several games: point estimates and how far they can be trusted.

Everything here is a function of arrays. ``scores`` is a sequence with one array per game, each
holding one number per run (seed) of that game, usually a human-normalised score; all arrays of a
*batched* call share leading axes, and the runs lie along the last one, so that one call serves one
data set, a thousand bootstrap replicates of it, or every point of a learning curve.

Sources: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice" (arXiv 2108.13264), with the definitions of its library ``rliable``; the percentile
bootstrap is Efron & Tibshirani 1993, chapter 13; the probability of improvement is the
Mann–Whitney U statistic divided by the number of pairs.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Float64Array: TypeAlias = npt.NDArray[np.float64]
GameScores: TypeAlias = Sequence[Float64Array]


class Interval(NamedTuple):
    """A point estimate between the ends of its confidence interval; arrays where batched."""

    estimate: Float64Array
    low: Float64Array
    high: Float64Array


def interquartile_mean(scores: GameScores) -> Float64Array:
    """Mean of the middle half of all runs of all games, IQM (Agarwal et al. 2021, section 4.3).

    Of ``n`` sorted scores the lowest and the highest ``int(n / 4)`` are left out. A robust mean:
    less swayed by one lucky run than the mean, by more of the data than the median.

    Args:
        scores: one array ``[..., runs]`` per game.

    Returns:
        ``[...]``.

    >>> float(interquartile_mean([np.array([0.0, 1.0, 2.0, 90.0])]))
    1.5
    """
    pooled = np.sort(_pool(scores), axis=-1)
    trimmed = pooled.shape[-1] // 4
    return np.asarray(pooled[..., trimmed : pooled.shape[-1] - trimmed].mean(axis=-1))


def mean_of_games(scores: GameScores) -> Float64Array:
    """Mean over games of the mean over runs: every game counts the same.

    >>> float(mean_of_games([np.array([0.0, 1.0]), np.array([2.0])]))
    1.25
    """
    return np.asarray(_game_means(scores).mean(axis=-1))


def median_of_games(scores: GameScores) -> Float64Array:
    """Median over games of the mean over runs: the usual "median human-normalised score".

    With many games half of them could score 0 without changing it (Agarwal et al. 2021).

    >>> float(median_of_games([np.array([0.0, 1.0]), np.array([2.0]), np.array([9.0])]))
    2.0
    """
    return np.asarray(np.median(_game_means(scores), axis=-1))


def optimality_gap(scores: GameScores, *, target: float = 1.0) -> Float64Array:
    """How far runs fall short of ``target`` on average, none being paid for exceeding it.

    ``target - mean(min(score, target))``, 0 at best (Agarwal et al. 2021, section 4.3).

    >>> float(optimality_gap([np.array([0.5, 7.0])]))
    0.25
    """
    capped = [np.minimum(game, target) for game in scores]
    return np.asarray(target - mean_of_games(capped))


def performance_profile(scores: GameScores, thresholds: Float64Array) -> Float64Array:
    """Share of runs that score above each threshold, games weighted equally: ``[..., thresholds]``.

    The run-score distribution of Agarwal et al. 2021, section 4.2: a curve above another means
    more of the runs reach any given score.

    >>> performance_profile([np.array([0.0, 1.0, 2.0, 3.0])], np.array([0.0, 1.5])).tolist()
    [0.75, 0.5]
    """
    shares = [(game[..., None, :] > thresholds[:, None]).mean(axis=-1) for game in scores]
    return np.asarray(np.mean(shares, axis=0))


def probability_of_improvement(scores_x: GameScores, scores_y: GameScores) -> Float64Array:
    """Probability that a run of X outscores a run of Y on a game drawn at random, ties half.

    For each game, ``U / (n m)``: the share of the ``n m`` pairs that X wins (Mann & Whitney 1947;
    Agarwal et al. 2021, section 4.3); then the mean over games. It says how often, not how much.

    Args:
        scores_x: one array ``[..., n]`` per game.
        scores_y: one array ``[..., m]`` per game, the same games in the same order.

    >>> float(probability_of_improvement([np.array([1.0, 3.0])], [np.array([1.0, 2.0])]))
    0.625
    """
    shares = []
    for x, y in zip(scores_x, scores_y, strict=True):
        difference = x[..., :, None] - y[..., None, :]
        shares.append(((difference > 0) + 0.5 * (difference == 0)).mean(axis=(-2, -1)))
    return np.asarray(np.mean(shares, axis=0))


def resample(
    scores: GameScores, *, replicates: int, generator: np.random.Generator
) -> list[Float64Array]:
    """Stratified bootstrap: runs drawn with replacement within each game.

    Games are the fixed benchmark and are not resampled (Agarwal et al. 2021, section 4.1).

    Args:
        scores: one array ``[..., runs]`` per game; the same runs are drawn along all leading axes,
            so that the points of a learning curve stay together.
        replicates: how many data sets to draw.
        generator: source of randomness.

    Returns:
        One array ``[replicates, ..., runs]`` per game.
    """
    drawn = []
    for game in scores:
        runs = game.shape[-1]
        chosen = generator.integers(runs, size=(replicates, runs))
        drawn.append(np.moveaxis(np.take(game, chosen, axis=-1), -2, 0))
    return drawn


def bootstrap_interval(
    statistic: Callable[..., Float64Array],
    *samples: GameScores,
    confidence: float,
    replicates: int,
    seed: int,
) -> Interval:
    """A statistic and its percentile interval from a stratified bootstrap.

    ``low`` and ``high`` are the ``(1 ∓ confidence) / 2`` quantiles of the statistic over
    ``replicates`` resampled data sets, the next order statistic outwards, so that infinities stay
    ordered. With fewer than about ten runs a game the interval is too narrow:
    ``docs/comparing.md`` has the coverage measured.

    Args:
        statistic: one of the functions above, or one that reads batches as they do.
        samples: what it takes: one sample, or two that are resampled independently.
        confidence: nominal coverage, in (0, 1).
        replicates: bootstrap data sets.
        seed: equal seeds, equal intervals.
    """
    generator = np.random.default_rng(seed)
    replicated = statistic(
        *(resample(sample, replicates=replicates, generator=generator) for sample in samples)
    )
    ordered = np.sort(replicated, axis=0)
    last, tail = len(ordered) - 1, (1.0 - confidence) / 2.0
    low = ordered[math.floor(tail * last)]
    high = ordered[math.ceil((1.0 - tail) * last)]
    return Interval(np.asarray(statistic(*samples)), np.asarray(low), np.asarray(high))


def steps_to_score(steps: Float64Array, scores: Float64Array, target: float) -> float:
    """The first measured step at which a run's score is at least ``target``; inf where never.

    >>> steps_to_score(np.array([10.0, 20.0, 30.0]), np.array([0.0, 5.0, 4.0]), 4.0)
    20.0
    """
    reached = np.flatnonzero(scores >= target)
    return float(steps[reached[0]]) if reached.size else float("inf")


def median_steps(steps: GameScores) -> Float64Array:
    """Median over all runs of the steps to a score, a run that never reached it counting as inf.

    The upper of the two middle runs where their number is even, so that no mean is taken between a
    number and infinity.

    >>> float(median_steps([np.array([10.0, np.inf, 30.0])]))
    30.0
    """
    pooled = np.sort(_pool(steps), axis=-1)
    return np.asarray(pooled[..., pooled.shape[-1] // 2])


def area_under_curve(steps: Float64Array, scores: Float64Array, end: float) -> float:
    """A run's mean score from its first measurement to step ``end``, by the trapezoidal rule.

    It rewards learning early and keeping what was learnt. The curve is linear between
    measurements and level after the last one.

    >>> area_under_curve(np.array([0.0, 10.0]), np.array([0.0, 4.0]), 10.0)
    2.0
    >>> area_under_curve(np.array([0.0, 10.0]), np.array([0.0, 4.0]), 5.0)
    1.0
    """
    if end <= steps[0]:
        return float(scores[0])
    inside = steps < end
    x = np.append(steps[inside], end)
    y = np.append(scores[inside], np.interp(end, steps, scores))
    return float(np.trapezoid(y, x) / (end - steps[0]))


def _pool(scores: GameScores) -> Float64Array:
    return np.concatenate(list(scores), axis=-1)


def _game_means(scores: GameScores) -> Float64Array:
    return np.stack([game.mean(axis=-1) for game in scores], axis=-1)
