"""Vectors of games that restart by themselves: Atari under a protocol, MinAtar, classic control."""

from dqn.environments.atari import AtariEnvironment
from dqn.environments.base import VectorEnvironment
from dqn.environments.control import ControlEnvironment
from dqn.environments.games import check_game, known_games
from dqn.environments.kinds import KINDS, EnvironmentSpec
from dqn.environments.minatar import (
    MINATAR_GAMES,
    MINATAR_PROTOCOLS,
    MinAtarEnvironment,
    check_minatar_game,
    get_minatar_protocol,
)

__all__ = [
    "KINDS",
    "MINATAR_GAMES",
    "MINATAR_PROTOCOLS",
    "AtariEnvironment",
    "ControlEnvironment",
    "EnvironmentSpec",
    "MinAtarEnvironment",
    "VectorEnvironment",
    "check_game",
    "check_minatar_game",
    "get_minatar_protocol",
    "known_games",
]
