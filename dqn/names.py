"""The one spelling in which an error suggests the name that was probably meant."""

import difflib
from collections.abc import Iterable


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A suggestion to append to an error, or nothing where no name is near.

    >>> nearest("optimzer", ["optimizer", "env"])
    '; did you mean optimizer?'
    >>> nearest("xyz", ["optimizer", "env"])
    ''
    """
    matches = difflib.get_close_matches(name, list(allowed), n=1)
    return suggest(matches[0]) if matches else ""


def suggest(name: str) -> str:
    """The suggestion itself, where another rule has found the name.

    >>> suggest("adam")
    '; did you mean adam?'
    """
    return f"; did you mean {name}?"
