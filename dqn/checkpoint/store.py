"""Checkpoints: the whole run in one directory, written beside and renamed into place.

::

    checkpoints/agent_step_000000120000/
        manifest.json            format, sizes and checksums; written last
        <part>.pt                torch.save of plain values and tensors, read with weights_only=True
        frames/<begin>-<end>.zst columns of the replay, compressed, shared by hard links

A directory under its final name is complete: it is written as ``.tmp-*``, synced, and renamed.
Every byte of it is under a checksum, which is compared before anything is believed.
"""

import io
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dqn.checkpoint.errors import CheckpointError, CheckpointFormatError
from dqn.checkpoint.files import FileEntry, check_file, read_file, write_file
from dqn.checkpoint.manifest import FORMAT, Manifest, read_manifest, write_manifest
from dqn.checkpoint.segments import Frames, FrameStore, read_frames, write_frames
from dqn.system.whole_file import sync_directory

PREFIX = "agent_step_"
TEMPORARY_PREFIX = ".tmp-"
REPLACED_PREFIX = ".replaced-"
DAMAGED_PREFIX = "damaged-"
NUM_KEPT = 2
FRAMES_DIRECTORY = "frames"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files have been found sound.

    Attributes:
        path: its directory.
        agent_steps: of the run when it was saved.
        state: the parts that were asked for, by name.
    """

    path: Path
    agent_steps: int
    state: dict[str, object]
    _frames: Frames | None

    def load_frames(self, store: FrameStore) -> None:
        """Read the replay's frames block by block into the replay, never two of it at once.

        Raises:
            CheckpointError: there are none, or they are not those of ``store``.
        """
        if self._frames is None:
            raise CheckpointError(f"{self.path}: holds no frames of a replay")
        try:
            read_frames(self.path / FRAMES_DIRECTORY, self._frames, store)
        except CheckpointError:
            raise
        except Exception as error:  # zstandard's own errors, and what a wrong manifest leads to
            raise CheckpointError(f"{self.path}: damaged checkpoint ({error})") from error


def save(
    directory: Path,
    agent_steps: int,
    state: Mapping[str, object],
    frames: FrameStore | None = None,
) -> Path:
    """Write ``directory/agent_step_<n>``, then remove all but the newest ``NUM_KEPT``.

    Args:
        directory: of the run's checkpoints; made when missing.
        agent_steps: names the checkpoint.
        state: parts by name, each of nested dicts and lists of tensors and plain values.
        frames: the replay whose frames belong to it.

    Returns:
        The checkpoint's path.

    Raises:
        OSError: when it cannot be written; what was there before is untouched.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tidy(directory)
    final = path_at(directory, agent_steps)
    temporary = directory / f"{TEMPORARY_PREFIX}{final.name}-{os.getpid()}"
    try:
        temporary.mkdir()
        manifest: Manifest = {"format": FORMAT, "agent_steps": agent_steps, "parts": {}}
        for name, part in state.items():
            manifest["parts"][name] = _write_part(temporary / f"{name}.pt", part)
        if frames is not None:
            (temporary / FRAMES_DIRECTORY).mkdir()
            base, base_frames = _base(directory, final)
            manifest["frames"] = write_frames(
                temporary / FRAMES_DIRECTORY, frames, base=base, base_frames=base_frames
            )
            sync_directory(temporary / FRAMES_DIRECTORY)
        write_manifest(temporary, manifest)
        sync_directory(temporary)
        _put_in_place(temporary, final)
        sync_directory(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in [*available(directory)[:-NUM_KEPT], *directory.glob(f"{DAMAGED_PREFIX}*")]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def path_at(directory: Path, agent_steps: int) -> Path:
    """Where the checkpoint of ``agent_steps`` is, or would be."""
    return directory / f"{PREFIX}{agent_steps:012d}"


def available(directory: Path) -> list[Path]:
    """Checkpoints that were written to their end, oldest first."""
    return sorted(
        path
        for path in directory.glob(f"{PREFIX}*")
        if path.is_dir() and re.fullmatch(rf"{PREFIX}\d{{12,}}", path.name)
    )


def tidy(directory: Path) -> None:
    """Remove what a killed process left half-way, and put back what it was about to replace."""
    for replaced in directory.glob(f"{REPLACED_PREFIX}*"):
        final = directory / replaced.name.removeprefix(REPLACED_PREFIX)
        if final.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.replace(replaced, final)
    for unfinished in directory.glob(f"{TEMPORARY_PREFIX}*"):
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)


def set_aside_after(directory: Path, used: Path) -> None:
    """Rename what is newer than ``used`` and was found damaged; the next save removes it.

    A later start would take it for a part of the run that continues from ``used``.
    """
    for path in available(directory):
        if path.name > used.name:
            aside = directory / f"{DAMAGED_PREFIX}{path.name}"
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(path, aside)


def load_newest(directory: Path, keys: Collection[str] | None = None) -> Checkpoint | None:
    """Read the newest checkpoint that can be read, with a warning for each newer one that cannot.

    Args:
        directory: of the run's checkpoints.
        keys: as ``load`` takes them.

    Returns:
        The checkpoint, or None where there is none at all.

    Raises:
        CheckpointFormatError: the newest sound one is of another format.
        CheckpointError: there are some and none can be read.
    """
    error: CheckpointError | None = None
    for path in reversed(available(directory)):
        if error is not None:
            print(f"warning: {error}; trying the one before", file=sys.stderr)
        try:
            return load(path, keys)
        except CheckpointFormatError:
            raise
        except CheckpointError as unreadable:
            error = unreadable
    if error is not None:
        raise error
    return None


def load(path: Path, keys: Collection[str] | None = None) -> Checkpoint:
    """Read one checkpoint; executes nothing that it holds.

    Args:
        path: of the checkpoint.
        keys: parts to read, or None for all. Only what is read is checked: without the replay and
            its frames it is fast.

    Raises:
        CheckpointFormatError: when it is of another format.
        CheckpointError: when it is damaged.
    """
    manifest = read_manifest(path)
    state: dict[str, object] = {}
    try:
        for name, entry in manifest["parts"].items():
            if keys is None or name in keys:
                check_file(path / f"{name}.pt", entry)
                state[name] = _read_part(path / f"{name}.pt", entry["bytes"])
        frames = manifest.get("frames")
        if keys is None and frames is not None:
            for segment in frames["segments"]:
                check_file(path / FRAMES_DIRECTORY / segment["name"], segment["file"])
        agent_steps = int(manifest["agent_steps"])
    except Exception as error:
        # torch.load raises a dozen types on damage; all of them mean the same to the caller.
        raise CheckpointError(f"{path}: damaged checkpoint ({_first_line(error)})") from error
    return Checkpoint(path, agent_steps, state, frames)


def _base(directory: Path, final: Path) -> tuple[Path | None, Frames | None]:
    """The frames of the checkpoint before the last, which share no byte with the last one's."""
    earlier = [path for path in available(directory) if path.name < final.name]
    if len(earlier) < NUM_KEPT:
        return None, None
    base = earlier[-NUM_KEPT]
    try:
        return base / FRAMES_DIRECTORY, read_manifest(base).get("frames")
    except CheckpointError:
        return None, None


def _put_in_place(temporary: Path, final: Path) -> None:
    """Rename ``temporary`` to ``final``.

    A checkpoint that stands there is first renamed to what ``tidy`` puts back after a crash.
    """
    if not final.exists():
        os.replace(temporary, final)
        return
    replaced = final.with_name(f"{REPLACED_PREFIX}{final.name}")
    os.replace(final, replaced)
    try:
        os.replace(temporary, final)
    except OSError:
        os.replace(replaced, final)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _write_part(path: Path, part: object) -> FileEntry:
    # Saved in memory first: on a full disk torch.save raises a RuntimeError of its archive writer,
    # while write_file raises the OSError that names the cause.
    buffer = io.BytesIO()
    torch.save(_without_slack(part), buffer)
    return write_file(path, buffer.getbuffer())


def _read_part(path: Path, size: int) -> object:
    buffer = io.BytesIO(read_file(path, max_bytes=size))
    with zipfile.ZipFile(buffer) as archive:
        # torch.save never compresses; a compressed record could grow to any size.
        if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
            raise CheckpointError(f"{path.name} holds a compressed record")
    buffer.seek(0)
    return torch.load(buffer, weights_only=True, map_location="cpu")


def _without_slack(value: object) -> object:
    """Copies of views: torch.save writes the whole storage behind one, gigabytes for a new ring."""
    if isinstance(value, Mapping):
        return {key: _without_slack(item) for key, item in value.items()}
    if isinstance(value, Tensor) and value.untyped_storage().nbytes() > value.nbytes:
        return value.clone()
    return value


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
