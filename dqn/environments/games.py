"""Which Atari games can be played here."""

import os
from functools import lru_cache
from pathlib import Path

from ale_py import roms

from dqn.names import nearest

# ALE lists their cartridges, but knows no single-player game on them, and loading one ends the
# whole process (ale_py/registration.py leaves out the same four).
_TWO_PLAYER_GAMES = frozenset({"combat", "joust", "maze_craze", "warlords"})


def _rom(game: str) -> Path:
    # The directory and the variable that overrides it are ALE's (ale_py/roms/__init__.py).
    directory = Path(os.environ.get("ALE_ROMS_DIR") or Path(roms.__file__).parent)
    return directory / f"{game}.bin"


@lru_cache(maxsize=1)
def _supported_games() -> tuple[str, ...]:
    return tuple(sorted(set(roms.get_all_rom_ids()) - _TWO_PLAYER_GAMES))


def known_games() -> tuple[str, ...]:
    """ALE's names of all single-player games whose cartridge is installed, sorted.

    >>> {"pong", "ms_pacman", "space_invaders"} <= set(known_games())
    True
    """
    return tuple(game for game in _supported_games() if _rom(game).is_file())


def check_game(name: str) -> None:
    """Refuse a game that cannot be played.

    >>> check_game("pong")
    >>> check_game("Breakout")
    Traceback (most recent call last):
    ValueError: env.game='Breakout': ALE knows no such game; did you mean breakout? \
(104 games, see dqn.environments.known_games())

    Raises:
        ValueError: when ALE has no single-player game of that name, with the nearest one, or when
            its cartridge is not installed, with the file that is missing.
    """
    supported_games = _supported_games()
    if name not in supported_games:
        raise ValueError(
            f"env.game={name!r}: ALE knows no such game{nearest(name.lower(), supported_games)} "
            f"({len(supported_games)} games, see dqn.environments.known_games())"
        )
    rom = _rom(name)
    if not rom.is_file():
        raise ValueError(f"env.game={name!r}: its cartridge {rom} is missing, reinstall ale-py")
