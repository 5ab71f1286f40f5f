"""Checkpoints: the whole run in one directory, written beside and renamed into place.

::

    checkpoints/agent_step_000120000/
        state.pt        torch.save of plain values and tensors, read with weights_only=True
        tensors/0.zst   each large tensor (the replay's frames), compressed in one stream

A directory under its final name is complete: it is written as ``.tmp-*``, synced, and renamed.
"""

import io
import os
import shutil
import sys
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import zstandard
from torch import Tensor

PREFIX = "agent_step_"
TEMPORARY_PREFIX = ".tmp-"
FORMAT = 1
NUM_KEPT = 2
# Tensors from this size on are compressed: the replay's, not the networks'.
COMPRESSED_FROM_BYTES = 16 * 2**20
# Level 1 takes frames of Atari to a few per cent at about the disk's speed; higher levels pay
# with time for little.
ZSTD_LEVEL = 1
CHUNK_BYTES = 8 * 2**20
_PLACEHOLDER = "__tensor__"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with the reason in one line."""


def save(directory: Path, agent_steps: int, state: dict[str, object]) -> Path:
    """Write ``state`` as ``directory/agent_step_<n>``, then remove all but the newest ``NUM_KEPT``.

    Args:
        directory: of the run's checkpoints; made when missing.
        agent_steps: names the checkpoint.
        state: nested dicts of tensors and plain values.

    Returns:
        The checkpoint's path.

    Raises:
        OSError: when it cannot be written; what was there before is untouched.
    """
    directory.mkdir(parents=True, exist_ok=True)
    final = path_at(directory, agent_steps)
    temporary = directory / f"{TEMPORARY_PREFIX}{final.name}-{os.getpid()}"
    for unfinished in directory.glob(f"{TEMPORARY_PREFIX}*"):  # A killed process left it.
        shutil.rmtree(unfinished, ignore_errors=True)
    try:
        (temporary / "tensors").mkdir(parents=True)
        large: list[Tensor] = []
        small = _take_out_large(state, large)
        _write_small(temporary / "state.pt", {"format": FORMAT, "state": small})
        for index, tensor in enumerate(large):
            _write_compressed(temporary / "tensors" / f"{index}.zst", tensor)
        for path in [temporary / "state.pt", *(temporary / "tensors").iterdir()]:
            _sync(path)
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
        _sync(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in available(directory)[:-NUM_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def path_at(directory: Path, agent_steps: int) -> Path:
    """Where the checkpoint of ``agent_steps`` is, or would be."""
    return directory / f"{PREFIX}{agent_steps:012d}"


def available(directory: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path for path in directory.glob(f"{PREFIX}*") if path.is_dir())


def load_newest(directory: Path, keys: Collection[str] | None = None) -> dict[str, object] | None:
    """Read the newest checkpoint that can be read, with a warning for each newer one that cannot.

    Args:
        directory: of the run's checkpoints.
        keys: as ``load`` takes them.

    Returns:
        The state, or None where there is no checkpoint at all.

    Raises:
        CheckpointError: there are some and none can be read.
    """
    error: CheckpointError | None = None
    for path in reversed(available(directory)):
        if error is not None:
            print(f"warning: {error}; trying the one before", file=sys.stderr)
        try:
            return load(path, keys)
        except CheckpointError as unreadable:
            error = unreadable
    if error is not None:
        raise error
    return None


def load(path: Path, keys: Collection[str] | None = None) -> dict[str, object]:
    """Read one checkpoint; executes nothing that it holds.

    Args:
        path: of the checkpoint.
        keys: top-level keys of the state to read, or None for all: without the replay it is fast.

    Raises:
        CheckpointError: when it is damaged or of another format.
    """
    try:
        with zipfile.ZipFile(path / "state.pt") as archive:
            # torch.load skips the archive's checksums: a flipped bit would become a weight.
            if archive.testzip() is not None:
                raise CheckpointError(f"{path}: damaged checkpoint (state.pt: wrong checksum)")
        content = torch.load(path / "state.pt", weights_only=True, map_location="cpu")
        if content["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: checkpoint format {content['format']}, this version reads {FORMAT}"
            )
        state = {
            key: value for key, value in content["state"].items() if keys is None or key in keys
        }
        return cast(dict[str, object], _put_back_large(state, path / "tensors"))
    except CheckpointError:
        raise
    except Exception as error:
        # torch.load raises a dozen types on damage; all of them mean the same to the caller.
        raise CheckpointError(f"{path}: damaged checkpoint ({error})") from error


def _take_out_large(value: object, large: list[Tensor]) -> object:
    """``value`` with its large tensors moved to ``large`` and placeholders in their place."""
    if isinstance(value, dict):
        return {key: _take_out_large(item, large) for key, item in value.items()}
    if isinstance(value, Tensor) and value.nbytes >= COMPRESSED_FROM_BYTES:
        large.append(value)
        dtype = str(value.dtype).removeprefix("torch.")
        return {_PLACEHOLDER: len(large) - 1, "shape": list(value.shape), "dtype": dtype}
    if isinstance(value, Tensor) and value.untyped_storage().nbytes() > value.nbytes:
        # torch.save writes the whole storage behind a view: gigabytes for a ring just begun.
        return value.clone()
    return value


def _put_back_large(value: object, directory: Path) -> object:
    if not isinstance(value, dict):
        return value
    if _PLACEHOLDER not in value:
        return {key: _put_back_large(item, directory) for key, item in value.items()}
    array = np.empty(value["shape"], dtype=np.dtype(value["dtype"]))
    _read_compressed(directory / f"{value[_PLACEHOLDER]}.zst", array)
    return torch.from_numpy(array)


def _write_small(path: Path, content: dict[str, object]) -> None:
    # By way of memory: to a full disk torch.save answers with a RuntimeError of its archive
    # writer, this with the OSError that names the cause.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(buffer.getbuffer())


def _write_compressed(path: Path, tensor: Tensor) -> None:
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
    with path.open("wb") as file, compressor.stream_writer(file, size=tensor.nbytes) as stream:
        # Row by row: a partly filled ring is contiguous in each row only, and a copy of the whole
        # might not fit beside it.
        for row in tensor.detach():
            for chunk in _chunks(row.cpu().contiguous().numpy()):
                stream.write(chunk)


def _read_compressed(path: Path, array: npt.NDArray[np.generic]) -> None:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        for chunk in _chunks(array):
            filled = 0
            while filled < len(chunk):
                count = stream.readinto(chunk[filled:])
                if not count:
                    raise CheckpointError(f"{path}: shorter than the replay it should hold")
                filled += count


def _chunks(array: npt.NDArray[np.generic]) -> Iterator[memoryview]:
    view = array.reshape(-1).view(np.uint8).data
    for start in range(0, len(view), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
