"""The numbers of a comparison, recomputed from the runs by plain loops."""

import numpy as np
import pytest
from helpers.written_runs import make_run

from dqn.comparison.compute.intervals import Inference
from dqn.comparison.compute.results import compare
from dqn.comparison.compute.selection import select
from dqn.comparison.run import Curve
from dqn.evaluation.atari_scores import ReferenceScores, human_normalised_score

FAST = {"replicates": 200}


def runs_of(finals, **kwargs):
    """One run for each final score, half of it at the step before."""
    return [
        make_run(optimizer, game, seed, scores=(0, final / 2, final), **kwargs)
        for optimizer, by_game in finals.items()
        for game, scores in by_game.items()
        for seed, final in enumerate(scores, start=1)
    ]


FINALS = {
    "adam": {"pong": [10, 11, 12, 20], "breakout": [30, 40, 50, 400]},
    "sgd": {"pong": [-21, -20, 5, 11], "breakout": [2, 3, 4, 500]},
}


@pytest.mark.parametrize("table", ["nature_49", "no_op_57"])
def test_aggregates_are_of_scores_normalised_by_the_table_that_was_asked_for(table):
    comparison = compare(select(runs_of(FINALS)), Inference(score_table=table, **FAST))
    for group, by_game in FINALS.items():
        normalised = {
            game: [human_normalised_score(game, score, table=table) for score in scores]
            for game, scores in by_game.items()
        }
        pooled = sorted(score for scores in normalised.values() for score in scores)
        means = [sum(scores) / 4 for scores in normalised.values()]
        gap = 1 - sum(min(score, 1.0) for score in pooled) / 8
        expected = {
            "IQM": sum(pooled[2:-2]) / 4,
            "median": sum(means) / 2,
            "mean": sum(means) / 2,
            "optimality gap": gap,
        }
        for name, value in expected.items():
            interval = comparison.aggregates[name][group]
            assert interval.estimate == pytest.approx(value), name
            assert interval.low <= interval.estimate <= interval.high


def test_improvement_counts_pairs_of_every_shared_game():
    comparison = compare(select(runs_of(FINALS)), Inference(**FAST))
    wins = [
        sum((x > y) + 0.5 * (x == y) for x in FINALS["adam"][g] for y in FINALS["sgd"][g]) / 16
        for g in ("pong", "breakout")
    ]
    assert comparison.improvements["adam", "sgd"].estimate == pytest.approx(np.mean(wins))
    assert comparison.improvements["sgd", "adam"].estimate == pytest.approx(1 - np.mean(wins))


def test_improvement_over_training_compares_areas():
    # Adam ends above SGD, and was below it for most of the time.
    runs = [
        *(make_run("adam", seed=s, scores=(0, 0, 5 + s)) for s in range(1, 6)),
        *(make_run("sgd", seed=s, scores=(4, 4, 4)) for s in range(1, 6)),
    ]
    comparison = compare(select(runs), Inference(**FAST))
    assert comparison.improvements["adam", "sgd"].estimate == 1.0
    assert comparison.improvements_over_training["adam", "sgd"].estimate == 0.0


def test_score_is_the_last_one_measured_at_or_before_the_common_step():
    late = make_run("sgd", seed=2, steps=(90, 190, 290, 600), scores=(0, 1, 7, 99))
    comparison = compare(select([make_run("adam"), late]), Inference(**FAST))
    assert comparison.selection.ends == {"pong": 300}
    assert comparison.finals["sgd", "pong"].tolist() == [7]
    # And its mean over the steps up to there: 0 to 1, 1 to 7, then towards 99 for 10 steps.
    towards = 7 + (99 - 7) * 10 / 310
    area = (100 * 0.5 + 100 * 4 + 10 * (7 + towards) / 2) / 210
    assert comparison.areas["sgd", "pong"][0] == pytest.approx(area)


def test_evaluations_a_few_steps_apart_count_as_made_at_the_same_step():
    early, late = make_run(), make_run(seed=2, steps=(101, 202, 302))
    comparison = compare(select([early, late]), Inference(target=2, **FAST))
    assert comparison.selection.ends == {"pong": 300}
    assert comparison.finals["adam", "pong"].tolist() == [2, 2]
    assert comparison.steps_to_target["adam", "pong"].tolist() == [300, 302]
    # A hundredth of the step and no more.
    later = make_run(seed=2, steps=(101, 202, 304))
    assert compare(select([early, later]), Inference(**FAST)).finals["adam", "pong"][1] == 1


def test_curves_are_pointwise_means_of_interpolated_runs():
    comparison = compare(select(runs_of(FINALS)), Inference(**FAST))
    band = comparison.mean_curves["adam", "pong"]
    assert band.x.tolist() == [100, 200, 300]
    means = [np.mean([final * share for final in FINALS["adam"]["pong"]]) for share in (0, 0.5, 1)]
    np.testing.assert_allclose(band.interval.estimate, means)
    iqm = comparison.iqm_curves["adam", "pong"].interval.estimate[-1]
    assert iqm == pytest.approx((11 + 12) / 2)
    over_games = comparison.aggregate_curves["sgd"].interval.estimate[-1]
    assert over_games == pytest.approx(float(comparison.aggregates["IQM"]["sgd"].estimate))


def test_sample_efficiency_counts_steps_and_those_that_never_got_there():
    comparison = compare(
        select(runs_of({"adam": {"pong": [10, 11, 12, 30]}})), Inference(target=11, **FAST)
    )
    assert comparison.steps_to_target["adam", "pong"].tolist() == [np.inf, 300, 300, 200]
    assert comparison.median_steps_to_target["adam", "pong"].estimate == 300
    assert comparison.median_steps_to_target["adam", "pong"].high == np.inf


def test_target_is_three_quarters_of_the_way_to_the_best_group():
    comparison = compare(select(runs_of(FINALS)), Inference(**FAST))
    # First scores are 0; the best mean on Pong is Adam's 13.25.
    assert comparison.targets["pong"] == pytest.approx(0.75 * 13.25)
    flat = compare(select(runs_of({"adam": {"pong": [-1, -2]}})), Inference(**FAST))
    assert flat.targets == {}  # Nobody learned.


def test_games_without_human_scores_are_left_out_or_kept_raw_or_not_averaged():
    with_other = runs_of({"adam": {"pong": [1, 2], "cartpole": [100, 200]}})
    mixed = compare(select(with_other), Inference(**FAST))
    assert mixed.aggregate_games == ("pong",)
    assert any("cartpole: left out of the aggregates" in w for w in mixed.warnings)

    alone = compare(select(runs_of({"adam": {"cartpole": [100, 200]}})), Inference(**FAST))
    assert not alone.is_normalised
    assert alone.aggregates["IQM"]["adam"].estimate == 150
    assert "optimality gap" not in alone.aggregates

    two = runs_of({"adam": {"cartpole": [100, 200], "acrobot": [-100, -80]}})
    assert compare(select(two), Inference(**FAST)).aggregates == {}
    references = {
        "cartpole": ReferenceScores(0.0, 400.0),
        "acrobot": ReferenceScores(-500.0, -100.0),
    }
    told = compare(select(two), Inference(references=references, **FAST))
    # 0.25, 0.5 and 1, 1.05; their middle half: (0.5 + 1) / 2.
    assert told.aggregates["IQM"]["adam"].estimate == pytest.approx(0.75)


def test_profiles_fall_from_one_to_zero_and_match_a_count():
    comparison = compare(select(runs_of(FINALS)), Inference(**FAST))
    for group, interval in comparison.profiles.items():
        assert (np.diff(interval.estimate) <= 0).all()
        assert interval.estimate[-1] == 0
        middle = comparison.thresholds[50]
        scores = [
            human_normalised_score(game, score, table="no_op_57")
            for game, finals in FINALS[group].items()
            for score in finals
        ]
        assert interval.estimate[50] == np.mean([score > middle for score in scores])


def test_time_curve_places_scores_at_the_seconds_of_each_run():
    fast = make_run(seed=1, scores=(0, 4, 8), seconds=Curve(np.array([0, 300.0]), np.array([0, 3])))
    slow = make_run(seed=2, scores=(0, 4, 8), seconds=Curve(np.array([0, 300.0]), np.array([0, 6])))
    band = compare(select([fast, slow]), Inference(**FAST)).time_curves["adam", "pong"]
    # From second 2, where the slow run has its first score, to second 3, where the fast one ends.
    assert (band.x[0], band.x[-1]) == (2.0, 3.0)
    assert band.interval.estimate[0] == pytest.approx((4 + 0) / 2)
    assert band.interval.estimate[-1] == pytest.approx((8 + 2) / 2)


def test_diagnostics_are_medians_over_runs_with_their_extremes():
    tag = "effective_lr/head.weight/p50"
    runs = [
        make_run(seed=s, diagnostics={tag: Curve(np.array([100.0, 300.0]), np.array([rate, rate]))})
        for s, rate in enumerate((1e-3, 2e-3, 9e-3), start=1)
    ]
    curve = compare(select(runs), Inference(**FAST)).layers["pong"]["adam"][tag]
    assert curve.median.tolist() == [2e-3, 2e-3]
    assert (curve.low[0], curve.high[0]) == (1e-3, 9e-3)


def test_intervals_repeat_with_the_seed_and_change_with_it():
    selection = select(runs_of(FINALS))
    one, same, other = (compare(selection, Inference(seed=s, **FAST)) for s in (1, 1, 2))
    assert one.aggregates == same.aggregates
    assert one.aggregates["mean"]["adam"] != other.aggregates["mean"]["adam"]
