"""Every statistic against numbers worked by hand, naive loops, and data whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqn.comparison.statistics import (
    area_under_curve,
    bootstrap_interval,
    interquartile_mean,
    mean_of_games,
    median_of_games,
    median_steps,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    resample,
    steps_to_score,
)

finite = st.floats(-1e3, 1e3)
games = st.lists(st.lists(finite, min_size=1, max_size=9), min_size=1, max_size=4)

few_integers = st.lists(st.integers(0, 5), min_size=1, max_size=7)  # With ties.


def arrays(lists):
    return [np.array(runs, dtype=np.float64) for runs in lists]


def test_iqm_leaves_out_a_quarter_at_each_end_of_the_pooled_runs():
    # Sorted: -9 0 1 2 3 4 5 99; int(8 / 4) = 2 off each end; (1 + 2 + 3 + 4) / 4.
    assert interquartile_mean(arrays([[0, 99, 3, 4], [5, 1, 2, -9]])) == 2.5
    # int(5 / 4) = 1 off each end of 1 2 3 4 50, as scipy.stats.trim_mean(x, 0.25) does.
    assert interquartile_mean(arrays([[50, 1, 2, 3, 4]])) == 3.0
    # Three runs: nothing can be trimmed, it is the mean.
    assert interquartile_mean(arrays([[1, 2, 9]])) == 4.0


@given(games)
def test_iqm_is_the_mean_of_what_a_sorted_list_keeps(lists):
    pooled = sorted(score for runs in lists for score in runs)
    cut = int(0.25 * len(pooled))
    kept = pooled[cut : len(pooled) - cut]
    np.testing.assert_allclose(
        interquartile_mean(arrays(lists)), sum(kept) / len(kept), rtol=1e-9, atol=1e-9
    )


def test_mean_and_median_weigh_games_alike_however_many_runs_they_have():
    scores = arrays([[0, 0, 0, 4], [3], [8, 10]])  # means of games: 1, 3, 9
    assert mean_of_games(scores) == pytest.approx(13 / 3)
    assert median_of_games(scores) == 3.0


def test_optimality_gap_pays_nothing_for_exceeding_the_target():
    # Shortfalls 0.5, 0 and 1 - (-1) = 2 over one game of three runs.
    assert optimality_gap(arrays([[0.5, 30.0, -1.0]])) == pytest.approx(2.5 / 3)
    assert optimality_gap(arrays([[1.0, 5.0]])) == 0.0
    assert optimality_gap(arrays([[1.0, 5.0]]), target=3.0) == 1.0


@given(games, st.lists(finite, min_size=1, max_size=5))
def test_profile_counts_runs_strictly_above_each_threshold(lists, thresholds):
    expected = [
        sum(sum(score > tau for score in runs) / len(runs) for runs in lists) / len(lists)
        for tau in thresholds
    ]
    profile = performance_profile(arrays(lists), np.array(thresholds))
    np.testing.assert_allclose(profile, expected, atol=1e-12)


def test_probability_of_improvement_by_hand():
    # Pairs of (1, 4) with (2, 4): 1<2, 1<4, 4>2, 4=4 -> 1.5 of 4.
    assert probability_of_improvement(arrays([[1, 4]]), arrays([[2, 4]])) == 0.375
    # A second game that X always wins: the mean of 0.375 and 1.
    assert probability_of_improvement(arrays([[1, 4], [9]]), arrays([[2, 4], [0, 1, 2]])) == 0.6875


@given(st.lists(st.tuples(few_integers, few_integers), min_size=1, max_size=3))
def test_probability_of_improvement_is_u_over_pairs_and_the_two_directions_add_up(pairs):
    x, y = arrays(first for first, _ in pairs), arrays(second for _, second in pairs)
    shares = []
    for a, b in zip(x, y, strict=True):
        # Mann-Whitney's U from ranks: R - n (n + 1) / 2, ties at their mean rank.
        pooled = np.concatenate([a, b])
        ranks = [(np.sum(pooled < v) + np.sum(pooled <= v) + 1) / 2 for v in a]
        shares.append((sum(ranks) - len(a) * (len(a) + 1) / 2) / (len(a) * len(b)))
    there = probability_of_improvement(x, y)
    assert there == pytest.approx(np.mean(shares))
    assert there + probability_of_improvement(y, x) == pytest.approx(1.0)


def test_batches_give_what_single_calls_give():
    generator = np.random.default_rng(0)
    scores = [generator.normal(size=(7, 5)), generator.normal(size=(7, 3))]
    others = [generator.normal(size=(7, 4)), generator.normal(size=(7, 6))]
    thresholds = np.linspace(-1, 1, 4)
    for statistic in (interquartile_mean, mean_of_games, median_of_games, optimality_gap):
        single = [statistic([game[i] for game in scores]) for i in range(7)]
        np.testing.assert_allclose(statistic(scores), single)
    np.testing.assert_allclose(
        performance_profile(scores, thresholds),
        [performance_profile([game[i] for game in scores], thresholds) for i in range(7)],
    )
    np.testing.assert_allclose(
        probability_of_improvement(scores, others),
        [
            probability_of_improvement([g[i] for g in scores], [g[i] for g in others])
            for i in range(7)
        ],
    )


def test_resampling_stays_within_games_and_keeps_curves_together():
    curve = np.arange(6.0).reshape(2, 3)  # two points, three runs
    other = 100 + np.arange(4.0)
    drawn_curve, drawn_other = resample(
        [curve, other], replicates=50, generator=np.random.default_rng(0)
    )
    assert drawn_curve.shape == (50, 2, 3)
    assert drawn_other.shape == (50, 4)
    # The second point of any run is three more than its first: runs were drawn, not points.
    np.testing.assert_array_equal(drawn_curve[:, 1] - drawn_curve[:, 0], np.full((50, 3), 3.0))
    assert set(drawn_other.ravel()) == set(other)
    assert len({tuple(draw) for draw in drawn_other}) > 10


def test_interval_of_two_runs_is_that_of_the_four_equally_likely_samples():
    # Of the runs 0 and 1 the resampled mean is 0, 1/2, 1/2 or 1, a quarter each.
    interval = bootstrap_interval(
        mean_of_games, arrays([[0, 1]]), confidence=0.95, replicates=4000, seed=3
    )
    assert (interval.estimate, interval.low, interval.high) == (0.5, 0.0, 1.0)
    narrow = bootstrap_interval(
        mean_of_games, arrays([[0, 1]]), confidence=0.4, replicates=4000, seed=3
    )
    assert (narrow.low, narrow.high) == (0.5, 0.5)  # Its quantiles 0.3 and 0.7.


def test_interval_repeats_with_its_seed_and_is_ordered_with_infinities():
    steps = arrays([[10, 20, math.inf, math.inf, 30]])
    one, same, other = (
        bootstrap_interval(median_steps, steps, confidence=0.9, replicates=500, seed=seed)
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one.low <= one.estimate <= one.high == math.inf
    assert not math.isnan(other.high)


@pytest.mark.parametrize(("statistic", "truth"), [(mean_of_games, 0.0), (interquartile_mean, 0.0)])
def test_intervals_of_many_runs_cover_the_truth_as_often_as_they_say(statistic, truth):
    # Normal scores of 4 games, 20 runs each, symmetric about 0: mean and IQM are 0.
    generator = np.random.default_rng(5)
    covered = 0
    trials = 400
    for trial in range(trials):
        scores = [generator.normal(scale=1 + game, size=20) for game in range(4)]
        interval = bootstrap_interval(statistic, scores, confidence=0.9, replicates=400, seed=trial)
        covered += bool(interval.low <= truth <= interval.high)
    # Binomial(400, 0.9) has a standard deviation of 0.015; the bootstrap's own error takes some.
    assert 0.84 <= covered / trials <= 0.95


def test_intervals_of_three_runs_are_too_narrow_which_the_documentation_must_say():
    generator = np.random.default_rng(5)
    trials = 400
    covered = sum(
        bool(interval.low <= 0 <= interval.high)
        for trial in range(trials)
        if (
            interval := bootstrap_interval(
                mean_of_games,
                [generator.normal(size=3)],
                confidence=0.95,
                replicates=400,
                seed=trial,
            )
        )
    )
    assert covered / trials < 0.85


def test_steps_to_score_is_the_first_measurement_there_and_inf_where_never():
    steps, scores = np.array([5.0, 10.0, 15.0]), np.array([0.0, 7.0, 3.0])
    assert steps_to_score(steps, scores, 7.0) == 10.0
    assert steps_to_score(steps, scores, -1.0) == 5.0
    assert steps_to_score(steps, scores, 7.1) == math.inf


def test_median_steps_counts_runs_that_never_got_there():
    assert median_steps(arrays([[10, math.inf, 30]])) == 30.0
    assert median_steps(arrays([[10, math.inf, math.inf]])) == math.inf
    assert median_steps(arrays([[10, 20, 30, math.inf]])) == 30.0  # The upper of 20 and 30.


def test_area_is_a_mean_over_steps_cut_or_extended_at_the_end():
    steps, scores = np.array([0.0, 2.0, 4.0]), np.array([0.0, 4.0, 4.0])
    assert area_under_curve(steps, scores, 4.0) == 3.0  # (4 + 8) / 4
    assert area_under_curve(steps, scores, 1.0) == 1.0  # A triangle of base 1 and height 2.
    assert area_under_curve(steps, scores, 8.0) == 3.5  # (12 + 4 * 4) / 8
    assert area_under_curve(steps + 10, scores, 5.0) == 0.0  # Before the first measurement.
