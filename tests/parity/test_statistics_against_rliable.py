"""Statistics and intervals against rliable 1.2.0, the library of Agarwal et al. 2021.

It is archived and needs pandas < 3, so it is no dependency. In an environment of its own, with
``pip install rliable==1.2.0 'pandas<3' pytest``, this file runs by ``PYTHONPATH=. pytest
--noconftest -c /dev/null tests/parity/test_statistics_against_rliable.py``.
"""

import numpy as np
import pytest

from dqn.comparison.statistics import (
    bootstrap_interval,
    interquartile_mean,
    mean_of_games,
    median_of_games,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)

# An old pandas beside a new arch fails in other ways than by being absent.
rliable = pytest.importorskip("rliable.library", reason="rliable 1.2.0 is not installed")
metrics = pytest.importorskip("rliable.metrics", reason="rliable 1.2.0 is not installed")

RUNS, GAMES = 5, 26  # As in Atari 100k, rliable's own example.
THRESHOLDS = np.linspace(0.0, 3.0, 31)


def data(seed):
    """``[runs, games]``, skewed like human-normalised scores."""
    generator = np.random.default_rng(seed)
    return generator.lognormal(generator.normal(-1, 1, size=GAMES), 0.4, size=(RUNS, GAMES))


def by_game(scores):
    return list(scores.T)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (interquartile_mean, "aggregate_iqm"),
        (mean_of_games, "aggregate_mean"),
        (median_of_games, "aggregate_median"),
        (optimality_gap, "aggregate_optimality_gap"),
    ],
)
def test_aggregates_and_their_intervals(ours, theirs):
    scores = data(0)
    reference = getattr(metrics, theirs)
    estimates, intervals = rliable.get_interval_estimates(
        {"x": scores}, lambda x: np.array([reference(x)]), reps=4000
    )
    interval = bootstrap_interval(ours, by_game(scores), confidence=0.95, replicates=4000, seed=0)
    print(theirs, interval, intervals["x"].ravel())
    assert interval.estimate == pytest.approx(estimates["x"].item(), rel=1e-12)
    # Two bootstraps of 4,000: the ends differ by a few hundredths of the interval's width.
    low, high = intervals["x"].ravel()
    np.testing.assert_allclose([interval.low, interval.high], [low, high], atol=0.08 * (high - low))


def test_performance_profile():
    scores = data(1)
    profiles, intervals = rliable.create_performance_profile({"x": scores}, THRESHOLDS, reps=2000)
    interval = bootstrap_interval(
        lambda s: performance_profile(s, THRESHOLDS),
        by_game(scores),
        confidence=0.95,
        replicates=2000,
        seed=0,
    )
    np.testing.assert_allclose(interval.estimate, profiles["x"], rtol=1e-12)
    np.testing.assert_allclose(np.stack(interval[1:]), intervals["x"], atol=0.02)


def test_probability_of_improvement():
    x, y = data(2), data(2)[:, ::-1] * 1.1
    interval = bootstrap_interval(
        probability_of_improvement, by_game(x), by_game(y), confidence=0.95, replicates=2000, seed=0
    )
    assert interval.estimate == pytest.approx(metrics.probability_of_improvement(x, y), rel=1e-12)
    _, intervals = rliable.get_interval_estimates(
        {"x,y": (x, y)}, lambda a, b: np.array([metrics.probability_of_improvement(a, b)]), reps=500
    )
    np.testing.assert_allclose([interval.low, interval.high], intervals["x,y"].ravel(), atol=0.02)
