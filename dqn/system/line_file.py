"""A file of lines: a resumed run continues at the very byte, a full disk loses none."""

import hashlib
import os
from pathlib import Path
from typing import TypedDict

# Lines that cannot be written wait in memory up to this size; later ones are lost.
MAX_PENDING_BYTES = 64 * 2**20
_READ_BYTES = 2**20


class LinePosition(TypedDict):
    """Where a file stood.

    Attributes:
        bytes: how long it was.
        sha256: of those bytes.
        pending: lines that could not be written yet.
    """

    bytes: int
    sha256: str
    pending: str


class LineFile:
    """Appends whole lines; half a line that a crash or a full disk has left is cut off again.

    Args:
        path: of the file; made when missing.
        position: where to continue, dropping what follows; None to begin an empty file.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, position: LinePosition | None = None) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        self._digest = hashlib.sha256()
        self._size = 0
        self._pending = b""
        self._is_as_saved = True
        if position is not None:
            self._read_to(position["bytes"])
            self._is_as_saved = self._digest.hexdigest() == position["sha256"]
            self._pending = position["pending"].encode()
        os.ftruncate(self._descriptor, self._size)

    @property
    def is_as_saved(self) -> bool:
        """Whether the lines before the position are those that were written."""
        return self._is_as_saved

    def write(self, line: str) -> None:
        """Append one line.

        Raises:
            OSError: the disk refuses it; the line waits for the next write or flush.
        """
        if len(self._pending) < MAX_PENDING_BYTES:
            self._pending += line.encode() + b"\n"
        self._write_pending()

    def flush(self) -> None:
        """Wait until all lines are on the disk.

        Raises:
            OSError: the disk refuses them.
        """
        self._write_pending()
        os.fsync(self._descriptor)

    def position(self) -> LinePosition:
        """Where the file stands."""
        return {
            "bytes": self._size,
            "sha256": self._digest.hexdigest(),
            "pending": self._pending.decode(),
        }

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _write_pending(self) -> None:
        if not self._pending:
            return
        try:
            written = 0
            while written < len(self._pending):
                position = self._size + written
                written += os.pwrite(self._descriptor, self._pending[written:], position)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._digest.update(self._pending)
        self._size += len(self._pending)
        self._pending = b""

    def _read_to(self, size: int) -> None:
        while self._size < size:
            block = os.pread(self._descriptor, min(_READ_BYTES, size - self._size), self._size)
            if not block:
                break
            self._digest.update(block)
            self._size += len(block)
