"""Scores of humans and of random play on Atari, and human-normalised scores.

A human-normalised score is 0 for random play and 1 for the human tester::

    (score - random) / (human - random)

Two tables are in use. They agree on random play but not on the human (Pong 9.3 or 14.6, Breakout
31.8 or 30.5, Ms. Pac-Man 15,693 or 6,952), so numbers normalised by different tables must not
stand beside each other, and every function here asks for the table by name:

``"nature_49"``
    Mnih et al. 2015, "Human-level control through deep reinforcement learning", Nature 518,
    Extended Data Table 2: 49 games.
``"no_op_57"``
    google-deepmind/dqn_zoo, ``dqn_zoo/atari_data.py``: 57 games that start with up to 30 no-ops
    and last at most 30 minutes. DQN Zoo, Dopamine and rliable normalise by it.

Games are named as ALE names them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from dqn.names import nearest

ScoreTableName: TypeAlias = Literal["nature_49", "no_op_57"]


class ReferenceScores(NamedTuple):
    """Average scores of random play and of a professional human tester on one game."""

    random: float
    human: float


_NATURE_49 = {
    "alien": ReferenceScores(227.8, 6875.4),
    "amidar": ReferenceScores(5.8, 1675.8),
    "assault": ReferenceScores(222.4, 1496.4),
    "asterix": ReferenceScores(210.0, 8503.3),
    "asteroids": ReferenceScores(719.1, 13156.7),
    "atlantis": ReferenceScores(12850.0, 29028.1),
    "bank_heist": ReferenceScores(14.2, 734.4),
    "battle_zone": ReferenceScores(2360.0, 37800.0),
    "beam_rider": ReferenceScores(363.9, 5774.7),
    "bowling": ReferenceScores(23.1, 154.8),
    "boxing": ReferenceScores(0.1, 4.3),
    "breakout": ReferenceScores(1.7, 31.8),
    "centipede": ReferenceScores(2090.9, 11963.2),
    "chopper_command": ReferenceScores(811.0, 9881.8),
    "crazy_climber": ReferenceScores(10780.5, 35410.5),
    "demon_attack": ReferenceScores(152.1, 3401.3),
    "double_dunk": ReferenceScores(-18.6, -15.5),
    "enduro": ReferenceScores(0.0, 309.6),
    "fishing_derby": ReferenceScores(-91.7, 5.5),
    "freeway": ReferenceScores(0.0, 29.6),
    "frostbite": ReferenceScores(65.2, 4334.7),
    "gopher": ReferenceScores(257.6, 2321.0),
    "gravitar": ReferenceScores(173.0, 2672.0),
    "hero": ReferenceScores(1027.0, 25762.5),
    "ice_hockey": ReferenceScores(-11.2, 0.9),
    "jamesbond": ReferenceScores(29.0, 406.7),
    "kangaroo": ReferenceScores(52.0, 3035.0),
    "krull": ReferenceScores(1598.0, 2394.6),
    "kung_fu_master": ReferenceScores(258.5, 22736.2),
    "montezuma_revenge": ReferenceScores(0.0, 4366.7),
    "ms_pacman": ReferenceScores(307.3, 15693.4),
    "name_this_game": ReferenceScores(2292.3, 4076.2),
    "pong": ReferenceScores(-20.7, 9.3),
    "private_eye": ReferenceScores(24.9, 69571.3),
    "qbert": ReferenceScores(163.9, 13455.0),
    "riverraid": ReferenceScores(1338.5, 13513.3),
    "road_runner": ReferenceScores(11.5, 7845.0),
    "robotank": ReferenceScores(2.2, 11.9),
    "seaquest": ReferenceScores(68.4, 20181.8),
    "space_invaders": ReferenceScores(148.0, 1652.3),
    "star_gunner": ReferenceScores(664.0, 10250.0),
    "tennis": ReferenceScores(-23.8, -8.9),
    "time_pilot": ReferenceScores(3568.0, 5925.0),
    "tutankham": ReferenceScores(11.4, 167.6),
    "up_n_down": ReferenceScores(533.4, 9082.0),
    "venture": ReferenceScores(0.0, 1187.5),
    "video_pinball": ReferenceScores(16256.9, 17297.6),
    "wizard_of_wor": ReferenceScores(563.5, 4756.5),
    "zaxxon": ReferenceScores(32.5, 9173.3),
}

_NO_OP_57 = {
    "alien": ReferenceScores(227.8, 7127.7),
    "amidar": ReferenceScores(5.8, 1719.5),
    "assault": ReferenceScores(222.4, 742.0),
    "asterix": ReferenceScores(210.0, 8503.3),
    "asteroids": ReferenceScores(719.1, 47388.7),
    "atlantis": ReferenceScores(12850.0, 29028.1),
    "bank_heist": ReferenceScores(14.2, 753.1),
    "battle_zone": ReferenceScores(2360.0, 37187.5),
    "beam_rider": ReferenceScores(363.9, 16926.5),
    "berzerk": ReferenceScores(123.7, 2630.4),
    "bowling": ReferenceScores(23.1, 160.7),
    "boxing": ReferenceScores(0.1, 12.1),
    "breakout": ReferenceScores(1.7, 30.5),
    "centipede": ReferenceScores(2090.9, 12017.0),
    "chopper_command": ReferenceScores(811.0, 7387.8),
    "crazy_climber": ReferenceScores(10780.5, 35829.4),
    "defender": ReferenceScores(2874.5, 18688.9),
    "demon_attack": ReferenceScores(152.1, 1971.0),
    "double_dunk": ReferenceScores(-18.6, -16.4),
    "enduro": ReferenceScores(0.0, 860.5),
    "fishing_derby": ReferenceScores(-91.7, -38.7),
    "freeway": ReferenceScores(0.0, 29.6),
    "frostbite": ReferenceScores(65.2, 4334.7),
    "gopher": ReferenceScores(257.6, 2412.5),
    "gravitar": ReferenceScores(173.0, 3351.4),
    "hero": ReferenceScores(1027.0, 30826.4),
    "ice_hockey": ReferenceScores(-11.2, 0.9),
    "jamesbond": ReferenceScores(29.0, 302.8),
    "kangaroo": ReferenceScores(52.0, 3035.0),
    "krull": ReferenceScores(1598.0, 2665.5),
    "kung_fu_master": ReferenceScores(258.5, 22736.3),
    "montezuma_revenge": ReferenceScores(0.0, 4753.3),
    "ms_pacman": ReferenceScores(307.3, 6951.6),
    "name_this_game": ReferenceScores(2292.3, 8049.0),
    "phoenix": ReferenceScores(761.4, 7242.6),
    "pitfall": ReferenceScores(-229.4, 6463.7),
    "pong": ReferenceScores(-20.7, 14.6),
    "private_eye": ReferenceScores(24.9, 69571.3),
    "qbert": ReferenceScores(163.9, 13455.0),
    "riverraid": ReferenceScores(1338.5, 17118.0),
    "road_runner": ReferenceScores(11.5, 7845.0),
    "robotank": ReferenceScores(2.2, 11.9),
    "seaquest": ReferenceScores(68.4, 42054.7),
    "skiing": ReferenceScores(-17098.1, -4336.9),
    "solaris": ReferenceScores(1236.3, 12326.7),
    "space_invaders": ReferenceScores(148.0, 1668.7),
    "star_gunner": ReferenceScores(664.0, 10250.0),
    "surround": ReferenceScores(-10.0, 6.5),
    "tennis": ReferenceScores(-23.8, -8.3),
    "time_pilot": ReferenceScores(3568.0, 5229.2),
    "tutankham": ReferenceScores(11.4, 167.6),
    "up_n_down": ReferenceScores(533.4, 11693.2),
    "venture": ReferenceScores(0.0, 1187.5),
    "video_pinball": ReferenceScores(16256.9, 17667.9),
    "wizard_of_wor": ReferenceScores(563.5, 4756.5),
    "yars_revenge": ReferenceScores(3092.9, 54576.9),
    "zaxxon": ReferenceScores(32.5, 9173.3),
}

SCORE_TABLES: Mapping[ScoreTableName, Mapping[str, ReferenceScores]] = MappingProxyType(
    {"nature_49": MappingProxyType(_NATURE_49), "no_op_57": MappingProxyType(_NO_OP_57)}
)


def reference_scores(game: str, *, table: ScoreTableName) -> ReferenceScores:
    """What random play and the human tester score on ``game``, as ``table`` says.

    Raises:
        ValueError: there is no such table, or no such game in it.

    >>> reference_scores("pong", table="nature_49")
    ReferenceScores(random=-20.7, human=9.3)
    >>> reference_scores("pong", table="no_op_57")
    ReferenceScores(random=-20.7, human=14.6)
    """
    if table not in SCORE_TABLES:
        raise ValueError(f"table={table!r} must be one of {sorted(SCORE_TABLES)}")
    scores = SCORE_TABLES[table]
    if game not in scores:
        raise ValueError(f"game={game!r} is not in the table {table!r}{nearest(game, scores)}")
    return scores[game]


def human_normalised_score(game: str, score: float, *, table: ScoreTableName) -> float:
    """``(score - random) / (human - random)``: 0 for random play, 1 for the human tester.

    Args:
        game: ALE's name, ``"ms_pacman"``.
        score: unclipped return of whole games.
        table: which human is meant.

    Raises:
        ValueError: there is no such table, or no such game in it.

    >>> round(human_normalised_score("breakout", 401.2, table="nature_49"), 3)
    13.272
    >>> round(human_normalised_score("breakout", 401.2, table="no_op_57"), 3)
    13.872
    """
    reference = reference_scores(game, table=table)
    return (score - reference.random) / (reference.human - reference.random)
