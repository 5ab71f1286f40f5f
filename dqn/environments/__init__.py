"""Vectors of games that restart by themselves: Atari under a protocol, and classic control."""

from dqn.environments.atari import AtariEnvironment
from dqn.environments.control import ControlEnvironment
from dqn.environments.games import check_game, known_games

__all__ = ["AtariEnvironment", "ControlEnvironment", "check_game", "known_games"]
