"""Score tables against aggregates that other papers published and against ALE's names."""

import statistics

import ale_py.roms
import pytest

from dqn.evaluation.atari_scores import (
    SCORE_TABLES,
    ScoreTableName,
    human_normalised_score,
    reference_scores,
)

# Mean scores of the agent of Mnih et al. 2015, Extended Data Table 2.
NATURE_DQN_SCORES = {
    "alien": 3069.0,
    "amidar": 739.5,
    "assault": 3359.0,
    "asterix": 6012.0,
    "asteroids": 1629.0,
    "atlantis": 85641.0,
    "bank_heist": 429.7,
    "battle_zone": 26300.0,
    "beam_rider": 6846.0,
    "bowling": 42.4,
    "boxing": 71.8,
    "breakout": 401.2,
    "centipede": 8309.0,
    "chopper_command": 6687.0,
    "crazy_climber": 114103.0,
    "demon_attack": 9711.0,
    "double_dunk": -18.1,
    "enduro": 301.8,
    "fishing_derby": -0.8,
    "freeway": 30.3,
    "frostbite": 328.3,
    "gopher": 8520.0,
    "gravitar": 306.7,
    "hero": 19950.0,
    "ice_hockey": -1.6,
    "jamesbond": 576.7,
    "kangaroo": 6740.0,
    "krull": 3805.0,
    "kung_fu_master": 23270.0,
    "montezuma_revenge": 0.0,
    "ms_pacman": 2311.0,
    "name_this_game": 7257.0,
    "pong": 18.9,
    "private_eye": 1788.0,
    "qbert": 10596.0,
    "riverraid": 8316.0,
    "road_runner": 18257.0,
    "robotank": 51.6,
    "seaquest": 5286.0,
    "space_invaders": 1976.0,
    "star_gunner": 57997.0,
    "tennis": -2.5,
    "time_pilot": 5947.0,
    "tutankham": 186.7,
    "up_n_down": 8456.0,
    "venture": 380.0,
    "video_pinball": 42684.0,
    "wizard_of_wor": 3393.0,
    "zaxxon": 4977.0,
}


def test_the_tables_have_the_games_their_names_say() -> None:
    assert {name: len(table) for name, table in SCORE_TABLES.items()} == {
        "nature_49": 49,
        "no_op_57": 57,
    }
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
    assert set(NATURE_DQN_SCORES) == set(SCORE_TABLES["nature_49"])
    normalised = [
        human_normalised_score(game, score, table="nature_49")
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
