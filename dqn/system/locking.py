"""One process per run: a lock that ends with its owner, however that ends."""

import fcntl
import os
from pathlib import Path

LOCK_FILE = ".lock"


class LockedError(RuntimeError):
    """Another process has the run."""


class RunLock:
    """Exclusive use of a run's directory, from ``acquire`` to ``release`` or the process's end.

    The system holds the lock, not the file: one that a killed process has left means nothing.

    Args:
        run_dir: the directory; it need not exist yet.

    >>> import tempfile
    >>> directory = Path(tempfile.mkdtemp())
    >>> first, second = RunLock(directory), RunLock(directory)
    >>> first.acquire()
    >>> second.acquire()
    Traceback (most recent call last):
    dqn.system.locking.LockedError: another process is at work there
    >>> first.release()
    >>> second.acquire()
    >>> second.release()
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / LOCK_FILE
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether the lock is ours."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock; without effect when it is ours already.

        Raises:
            LockedError: another process has it.
            OSError: the directory is missing or refuses the file.
        """
        if self._descriptor is not None:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise LockedError("another process is at work there") from None
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
