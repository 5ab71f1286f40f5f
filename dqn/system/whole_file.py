"""A small file that is replaced in one step: a reader, and a crash, see the old one or the new."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file under its name in one step, and wait until it is on the disk.

    No link is followed: one that lies in its place, or in that of the temporary file beside it, is
    itself replaced.

    Raises:
        OSError: the system refuses it; the old file is as it was.
    """
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Wait until a directory's entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
