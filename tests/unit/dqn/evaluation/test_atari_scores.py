"""Score tables against aggregates that other papers published and against ALE's names."""

import statistics

import ale_py.roms
import pytest

from dqn.evaluation.atari_scores import (
    NATURE_DQN_SCORES,
    SCORE_TABLES,
    ScoreTableName,
    human_normalised_score,
    reference_scores,
)


def test_the_tables_have_the_games_their_names_say() -> None:
    assert {name: len(table) for name, table in SCORE_TABLES.items()} == {
        "nature_49": 49,
        "no_op_57": 57,
    }
    assert set(NATURE_DQN_SCORES) == set(SCORE_TABLES["nature_49"])
    # The eight games that were added to Nature's.
    assert set(SCORE_TABLES["no_op_57"]) - set(SCORE_TABLES["nature_49"]) == {
        "berzerk",
        "defender",
        "phoenix",
        "pitfall",
        "skiing",
        "solaris",
        "surround",
        "yars_revenge",
    }


def test_nature_scores_give_the_published_median_and_mean() -> None:
    # van Hasselt, Guez & Silver 2016 (arXiv:1509.06461), table 1, "no ops": 93.5% and 241.1%.
    normalised = [
        human_normalised_score(game, score.mean, table="nature_49")
        for game, score in NATURE_DQN_SCORES.items()
    ]
    assert round(100 * statistics.median(normalised), 1) == 93.5
    assert round(100 * statistics.fmean(normalised), 1) == 241.1


def test_both_tables_hold_the_same_random_play() -> None:
    no_op_57 = SCORE_TABLES["no_op_57"]
    for game, scores in SCORE_TABLES["nature_49"].items():
        assert scores.random == no_op_57[game].random, game


@pytest.mark.parametrize("table", ["nature_49", "no_op_57"])
def test_the_human_beats_random_play_everywhere(table: ScoreTableName) -> None:
    assert all(scores.human > scores.random for scores in SCORE_TABLES[table].values())


def test_every_game_is_one_that_ale_has_by_that_name() -> None:
    assert set(SCORE_TABLES["no_op_57"]) <= set(ale_py.roms.get_all_rom_ids())


@pytest.mark.parametrize("table", ["nature_49", "no_op_57"])
def test_random_play_is_zero_and_the_human_is_one(table: ScoreTableName) -> None:
    for game, (random, human) in SCORE_TABLES[table].items():
        assert human_normalised_score(game, random, table=table) == 0.0
        assert human_normalised_score(game, human, table=table) == 1.0


def test_the_table_makes_a_difference() -> None:
    # (20 + 20.7) / (9.3 + 20.7) and (20 + 20.7) / (14.6 + 20.7)
    assert human_normalised_score("pong", 20.0, table="nature_49") == pytest.approx(40.7 / 30.0)
    assert human_normalised_score("pong", 20.0, table="no_op_57") == pytest.approx(40.7 / 35.3)


def test_an_unknown_game_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"game='ms_pac_man' .*; did you mean ms_pacman\?"):
        reference_scores("ms_pac_man", table="no_op_57")
    with pytest.raises(ValueError, match="game='berzerk' is not in the table 'nature_49'"):
        reference_scores("berzerk", table="nature_49")


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(ValueError, match="table='nature' must be one of"):
        reference_scores("pong", table="nature")  # type: ignore[arg-type]


def test_the_tables_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        SCORE_TABLES["no_op_57"]["pong"] = (0.0, 1.0)  # type: ignore[index]
