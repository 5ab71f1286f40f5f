"""What Hydra's console scripts share: bad input is answered with one line and exit status 2."""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from dqn.config import ConfigError, check_arguments, explain
from dqn.system.exit_status import BAD_INPUT_STATUS, ReportedFailure, signal_status

PATH_KEYS = ("run_dir", "out_dir", "weights")


def answer(run: Callable[[], float], *, program: str) -> float:
    """Run a Hydra job; alone, its bad input ends the program before Hydra adds a line of its own.

    In a multirun the error is handed to Hydra, which runs the other jobs and reports at the end.
    """
    try:
        return run()
    except ConfigError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        refuse(str(error), program=program)


def guard(
    application: Callable[[], object],
    *,
    program: str,
    config_name: str,
    finish: Callable[[], int | None] | None = None,
) -> None:
    """Run a Hydra application; what it refuses is explained in one line.

    Args:
        application: what ``hydra.main`` made of a function.
        program: the name in front of that line.
        config_name: of the application's primary configuration.
        finish: called when the application has ended, in whatever way. Where it returns an exit
            status, that replaces the one of a ``ReportedFailure``.

    Raises:
        SystemExit: bad input (2), a failure that was reported, or Ctrl-C (130).
    """
    # Hydra would print its own account of an error and exit with status 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    sys.argv[1:] = [quote_path(argument) for argument in sys.argv[1:]]
    finish_status = None
    try:
        check_arguments(sys.argv[1:])
        try:
            application()
        finally:
            if finish is not None:
                finish_status = finish()
    except ReportedFailure as failure:
        sys.exit(failure.exit_status if finish_status is None else finish_status)
    except Exception as error:
        message = explain(error, sys.argv[1:], config_name=config_name)
        if message is None:
            raise
        refuse(message, program=program)
    except KeyboardInterrupt:
        sys.exit(signal_status(signal.SIGINT))


def quote_path(argument: str) -> str:
    """A path in quotes for Hydra, whose grammar ends a bare value at the next ``=``.

    Our own directories hold one (``seed=1``), and people paste them as they are.

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
