"""The exit statuses of every console script, and how a failure carries one."""

FAILED_STATUS = 1
BAD_INPUT_STATUS = 2


def signal_status(number: int) -> int:
    """The shell's convention for a process that a signal has ended or stopped.

    >>> import signal
    >>> signal_status(signal.SIGINT), signal_status(signal.SIGTERM)
    (130, 143)
    """
    return 128 + number


class ReportedFailure(RuntimeError):
    """A failure that people have been told of: the program ends with ``exit_status``, silently."""

    exit_status = FAILED_STATUS
