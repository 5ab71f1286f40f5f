"""Files that are whole or recognised as damaged: sizes, checksums, and what reaches the disk.

Everything is read with a bound on its size, and only from regular files: a checkpoint may come from
a stranger.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import TypedDict

from dqn.checkpoint.errors import CheckpointError

_READ_BYTES = 2**20


class FileEntry(TypedDict):
    """What a manifest knows of one file."""

    bytes: int
    sha256: str


class HashingFile:
    """A new file that knows, when it is finished, what a manifest has to say of it.

    Raises:
        OSError: when it cannot be written; also ``write`` and ``finish`` do.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, content: bytes | memoryview) -> int:
        """Write all of ``content``."""
        view = memoryview(content).cast("B")
        written = 0
        while written < len(view):
            written += os.write(self._descriptor, view[written:])
        self._digest.update(view)
        self._size += len(view)
        return len(view)

    def finish(self) -> FileEntry:
        """Wait until everything is on the disk."""
        os.fsync(self._descriptor)
        return {"bytes": self._size, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def write_file(path: Path, content: bytes | memoryview) -> FileEntry:
    """Write a file and wait until it is on the disk."""
    file = HashingFile(path)
    try:
        file.write(content)
        return file.finish()
    finally:
        file.close()


def check_file(path: Path, entry: FileEntry) -> None:
    """Require that a file is what its manifest says.

    Raises:
        CheckpointError: missing, no regular file, of another size, or with another checksum.
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        if size != entry["bytes"]:
            raise CheckpointError(f"{path.name} has {size} bytes instead of {entry['bytes']}")
        digest = hashlib.sha256()
        while block := os.read(descriptor, _READ_BYTES):
            digest.update(block)
        if digest.hexdigest() != entry["sha256"]:
            raise CheckpointError(f"{path.name} has a wrong checksum")
    finally:
        os.close(descriptor)


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """The whole of a regular file.

    Raises:
        CheckpointError: missing, no regular file, or longer than ``max_bytes``.
    """
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise CheckpointError(f"{path.name} is longer than {max_bytes} bytes")
    return content


def open_regular(path: Path) -> int:
    """A descriptor for reading; no link is followed and no device opened.

    Raises:
        CheckpointError: missing, or no regular file.
    """
    try:
        # O_NONBLOCK: opening a pipe would otherwise wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointError(f"{path.name} is no regular file")
    return descriptor
