"""The list of what a checkpoint consists of, written last and checked first."""

import hashlib
import json
import re
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from dqn.checkpoint.errors import CheckpointError, CheckpointFormatError
from dqn.checkpoint.files import FileEntry, read_file, write_file
from dqn.checkpoint.segments import Frames

MANIFEST_FILE = "manifest.json"
# 1: state.pt and tensors/*.zst without a manifest. 2: parts, segments of frames, this manifest.
FORMAT = 2
_MAX_BYTES = 8 * 2**20
_PART_NAME = re.compile(r"[a-z_]{1,40}")
_SEGMENT_NAME = re.compile(r"\d{1,20}-\d{1,20}\.zst")


class Manifest(TypedDict):
    """What a checkpoint consists of.

    Attributes:
        format: number of this layout of files.
        agent_steps: of the run when it was saved.
        parts: by name, the files ``<name>.pt``.
        frames: of the replay, in ``frames/``.
        checksum: of all the rest.
    """

    format: int
    agent_steps: int
    parts: dict[str, FileEntry]
    frames: NotRequired[Frames]
    checksum: NotRequired[str]


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write ``manifest`` with its own checksum, and wait until it is on the disk."""
    content = {**manifest, "checksum": _checksum(manifest)}
    write_file(directory / MANIFEST_FILE, json.dumps(content, indent=1).encode())


def read_manifest(directory: Path) -> Manifest:
    """What the checkpoint in ``directory`` consists of.

    Raises:
        CheckpointFormatError: it is of another format.
        CheckpointError: it is damaged, or not written to its end.
    """
    if not (directory / MANIFEST_FILE).exists() and (directory / "state.pt").exists():
        raise _other_format(directory, 1)
    try:
        content = json.loads(read_file(directory / MANIFEST_FILE, max_bytes=_MAX_BYTES))
        checksum = content.pop("checksum")
        # Another format is believed only under a right checksum: without one the number itself may
        # be what is damaged.
        if content["format"] != FORMAT and checksum == _checksum(content):
            raise _other_format(directory, content["format"])
        if checksum != _checksum(content):
            raise CheckpointError(f"{MANIFEST_FILE} has a wrong checksum")
        manifest = cast(Manifest, content)
        for name in manifest["parts"]:
            if not _PART_NAME.fullmatch(name):
                raise CheckpointError(f"{MANIFEST_FILE} names a part {name!r}")
        for segment in manifest["frames"]["segments"] if "frames" in manifest else ():
            if not _SEGMENT_NAME.fullmatch(segment["name"]):
                raise CheckpointError(f"{MANIFEST_FILE} names a segment {segment['name']!r}")
    except CheckpointFormatError:
        raise
    except (
        CheckpointError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise CheckpointError(f"{directory}: damaged checkpoint ({error})") from error
    return manifest


def _checksum(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _other_format(directory: Path, number: object) -> CheckpointFormatError:
    return CheckpointFormatError(
        f"{directory}: checkpoint format {number}, this version reads format {FORMAT}: "
        "go on with the version of rmsprop-dqn that wrote it"
    )
