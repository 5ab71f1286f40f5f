"""Names of games, however they are written."""

import pytest

from dqn.comparison.run import canonical_game


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Pong", "pong"),
        ("ALE/MsPacman-v5", "ms_pacman"),
        ("SpaceInvadersNoFrameskip-v4", "space_invaders"),
        ("montezumarevenge", "montezuma_revenge"),
        ("airraid", "air_raid"),
        ("MinAtar/Breakout-v1", "minatar_breakout"),
        ("my game", "my_game"),
    ],
)
def test_games_have_one_name_however_they_are_written(written, meant):
    assert canonical_game(written) == meant
