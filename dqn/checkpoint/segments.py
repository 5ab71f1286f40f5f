"""A replay's frames on disk: compressed runs of columns that later checkpoints share.

What a column of the replay holds never changes until it is overwritten. So a checkpoint takes over
by hard link the segments that an earlier one wrote, and writes only the columns since: the cost is
that of the new frames, whatever the size of the replay. It takes them from the checkpoint *before*
the last one: two neighbours share no byte, and what damages one leaves the other whole.

A segment is one zstd stream of blocks of some columns, ``[num_envs, columns, *frame_shape]``: each
environment's frames follow one another, as alike as neighbours in a film.
"""

import os
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import IO, Protocol, TypedDict, cast

import numpy as np
import torch
import zstandard

from dqn.checkpoint.errors import CheckpointError
from dqn.checkpoint.files import FileEntry, HashingFile, check_file, open_regular

# Level 1 compresses frames of Atari to a few per cent at about the disk's speed. Higher levels take
# longer and save little more.
ZSTD_LEVEL = 1
# Frames are written and read in blocks of this size, which take memory beside the replay.
BLOCK_BYTES = 8 * 2**20
# Shorter segments at the end are not taken over but written again, so that there are few files.
MIN_SEGMENT_BYTES = 16 * 2**20
# A segment is kept until its last column is overwritten: longer ones would keep too much.
MAX_SEGMENT_BYTES = 2**30


class FrameStore(Protocol):
    """What a checkpoint needs of a replay."""

    @property
    def columns(self) -> range: ...
    def read_frames(self, columns: range) -> torch.Tensor: ...
    def write_frames(self, columns: range, frames: torch.Tensor) -> None: ...


class Segment(TypedDict):
    """One file of frames.

    Attributes:
        begin, end: columns, numbered from the run's first.
        block: columns in a block; the last block may hold fewer.
    """

    name: str
    begin: int
    end: int
    block: int
    file: FileEntry


class Frames(TypedDict):
    """What a manifest knows of a replay's frames."""

    num_envs: int
    frame_shape: list[int]
    dtype: str
    segments: list[Segment]


def write_frames(
    directory: Path, store: FrameStore, *, base: Path | None, base_frames: Frames | None
) -> Frames:
    """Write the frames that ``store`` holds, taking over what ``base`` already has of them.

    Args:
        directory: of the checkpoint that is being written; exists and is empty.
        store: the replay.
        base: the directory of an earlier checkpoint's frames, or None.
        base_frames: what its manifest knows of them.

    Raises:
        OSError: when they cannot be written.
    """
    columns = store.columns
    layout, column_bytes = _layout(store)
    segments: list[Segment] = []
    if base is not None and base_frames is not None and _layout_of(base_frames) == layout:
        segments = _take_over(directory, columns, base, base_frames, column_bytes)
    begin = segments[-1]["end"] if segments else columns.start
    longest = max(1, MAX_SEGMENT_BYTES // column_bytes)
    for start in range(begin, columns.stop, longest):
        part = range(start, min(start + longest, columns.stop))
        segments.append(_write_segment(directory, store, part, max(1, BLOCK_BYTES // column_bytes)))
    num_envs, frame_shape, dtype = layout
    return {"num_envs": num_envs, "frame_shape": frame_shape, "dtype": dtype, "segments": segments}


def read_frames(directory: Path, frames: Frames, store: FrameStore) -> None:
    """Decompress the frames of a checkpoint, whose files have been checked, into a replay.

    No more is decompressed than the replay's own layout asks for, whatever the files claim.

    Raises:
        CheckpointError: they are not those of ``store``'s columns and layout.
    """
    columns = store.columns
    layout, column_bytes = _layout(store)
    if _layout_of(frames) != layout:
        raise CheckpointError(
            f"{directory.parent}: holds frames {_layout_of(frames)}, this run's replay {layout}"
        )
    num_envs, frame_shape, dtype = layout
    reached = columns.start
    for segment in frames["segments"]:
        begin, end, block = segment["begin"], segment["end"], segment["block"]
        if not begin <= reached < end <= columns.stop:
            raise CheckpointError(f"{directory.parent}: its frames do not fit together")
        if not (
            1 <= block <= max(1, BLOCK_BYTES // column_bytes)
            and end - begin <= max(1, MAX_SEGMENT_BYTES // column_bytes)
        ):
            raise CheckpointError(f"{directory.parent}: its frames are more than they may be")
        with (
            os.fdopen(open_regular(directory / segment["name"]), "rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
        ):
            for part in _blocks(range(begin, end), block):
                buffer = np.empty((num_envs, len(part), *frame_shape), dtype=np.dtype(dtype))
                _fill(stream, buffer.reshape(-1).view(np.uint8).data, segment["name"])
                store.write_frames(part, torch.from_numpy(buffer))
        reached = end
    if reached != columns.stop:
        raise CheckpointError(f"{directory.parent}: frames of its replay are missing")


Layout = tuple[int, list[int], str]


def _layout(store: FrameStore) -> tuple[Layout, int]:
    """Number of environments, shape and type of a frame; bytes of a column."""
    columns = store.columns
    sample = store.read_frames(range(columns.start, min(columns.start + 1, columns.stop)))
    num_envs, frame_shape = sample.shape[0], list(sample.shape[2:])
    dtype = str(sample.dtype).removeprefix("torch.")
    return (num_envs, frame_shape, dtype), prod(frame_shape) * num_envs * sample.element_size()


def _layout_of(frames: Frames) -> Layout:
    return frames["num_envs"], frames["frame_shape"], frames["dtype"]


def _take_over(
    directory: Path, columns: range, base: Path, base_frames: Frames, column_bytes: int
) -> list[Segment]:
    """Link the segments that hold the oldest columns, as far as they are there and sound."""
    taken: list[Segment] = []
    reached = columns.start
    for segment in base_frames["segments"]:
        if segment["end"] <= reached:
            continue  # overwritten
        if segment["begin"] > reached or segment["end"] > columns.stop:
            break
        if (segment["end"] - segment["begin"]) * column_bytes < MIN_SEGMENT_BYTES:
            break
        try:
            # A link would hand a damaged byte on to every later checkpoint, so the file is checked.
            check_file(base / segment["name"], segment["file"])
            os.link(base / segment["name"], directory / segment["name"])
        except (CheckpointError, OSError):
            break  # It is damaged, or the file system has no links: its columns are written again.
        taken.append(segment)
        reached = segment["end"]
    return taken


def _write_segment(directory: Path, store: FrameStore, columns: range, block: int) -> Segment:
    name = f"{columns.start:012d}-{columns.stop:012d}.zst"
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
    sink = HashingFile(directory / name)
    try:
        with compressor.stream_writer(cast(IO[bytes], sink), closefd=False) as stream:
            for part in _blocks(columns, block):
                frames = store.read_frames(part).contiguous().numpy()
                stream.write(frames.reshape(-1).view(np.uint8).data)
        entry = sink.finish()
    finally:
        sink.close()
    return {
        "name": name,
        "begin": columns.start,
        "end": columns.stop,
        "block": block,
        "file": entry,
    }


def _blocks(columns: range, block: int) -> Iterator[range]:
    for start in range(columns.start, columns.stop, block):
        yield range(start, min(start + block, columns.stop))


def _fill(stream: zstandard.ZstdDecompressionReader, view: memoryview, name: str) -> None:
    filled = 0
    while filled < len(view):
        count = stream.readinto(view[filled:])
        if not count:
            raise CheckpointError(f"{name} is shorter than the frames it should hold")
        filled += count
