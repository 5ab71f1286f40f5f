"""What the console scripts share: bad input is answered with one line and exit status 2."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from dqn.config import ConfigError, check_arguments, explain
from dqn.sweep.job import RunFailed
from dqn.sweep.watch import finish_sweep

BAD_INPUT_STATUS = 2
PATH_KEYS = ("run_dir", "out_dir", "weights")
INTERRUPTED_STATUS = 130


def answer(run: Callable[[], float], *, program: str) -> float:
    """Run a Hydra job; alone, its bad input ends the program before Hydra adds a line of its own.

    In a sweep the error goes on to Hydra, which lets the other jobs run and reports at the end.
    """
    try:
        return run()
    except ConfigError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        refuse(str(error), program=program)


def guard(application: Callable[[], object], *, program: str, config_name: str) -> None:
    """Run a Hydra application; what it refuses is explained in one line."""
    # Otherwise Hydra prints its own account of an error and exits with status 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    sys.argv[1:] = [quote_path(argument) for argument in sys.argv[1:]]
    stop_signal = None
    try:
        check_arguments(sys.argv[1:])
        try:
            application()
        finally:
            stop_signal = finish_sweep()
    except RunFailed:  # The end of the sweep has said which and why.
        sys.exit(1 if stop_signal is None else 128 + stop_signal)
    except Exception as error:
        message = explain(error, sys.argv[1:], config_name=config_name)
        if message is None:
            raise
        refuse(message, program=program)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_STATUS)


def quote_path(argument: str) -> str:
    """A path in quotes for Hydra, whose grammar ends a bare value at the next ``=``.

    Our own directories hold one (``seed=1``), and are pasted as they are.

    >>> quote_path("run_dir=runs/pong/pong/adam/seed=1"), quote_path("seed=1")
    ("run_dir='runs/pong/pong/adam/seed=1'", 'seed=1')
    """
    key, _, value = argument.partition("=")
    if key not in PATH_KEYS or "=" not in value or value[0] in "'\"":
        return argument
    escaped = value.replace("'", "\\'")
    return f"{key}='{escaped}'"


def refuse(message: str, *, program: str) -> NoReturn:
    """One line on standard error, exit status 2."""
    print(f"{program}: {message}", file=sys.stderr)
    sys.exit(BAD_INPUT_STATUS)
