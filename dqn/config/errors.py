"""What a wrong configuration is answered with."""

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A configuration that cannot run: one line that names key, value and what is allowed."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A suggestion to append to an error, or nothing where no name is near.

    >>> nearest("optimzer", ["optimizer", "env"])
    '; did you mean optimizer?'
    >>> nearest("xyz", ["optimizer", "env"])
    ''
    """
    matches = difflib.get_close_matches(name, list(allowed), n=1)
    return f"; did you mean {matches[0]}?" if matches else ""
