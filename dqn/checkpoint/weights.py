"""Weights to keep and to share: safetensors, which can hold no code, under a checksum."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from dqn.checkpoint.errors import CheckpointError
from dqn.checkpoint.files import read_file
from dqn.system.whole_file import replace_file

_MAX_BYTES = 4 * 2**30


def save_weights(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, object]) -> None:
    """Write named tensors, and what is to be known about them, in one step.

    Args:
        path: of the file, conventionally ``*.safetensors``; replaced when it exists.
        weights: by parameter name.
        about: plain values, kept as JSON in the file's header.

    Raises:
        OSError: when it cannot be written; what was there before is untouched.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    text = json.dumps(dict(about))
    metadata = {"about": text, "sha256": _digest(tensors, text)}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, safetensors.torch.save(tensors, metadata))


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The tensors of a file that ``save_weights`` wrote, and what it says about them.

    Raises:
        CheckpointError: it cannot be read, or is damaged (safetensors notices no flipped bit).
    """
    try:
        content = read_file(path, max_bytes=_MAX_BYTES)
        tensors = safetensors.torch.load(content)
        header_size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + header_size])["__metadata__"]
        if metadata["sha256"] != _digest(tensors, metadata["about"]):
            raise CheckpointError("wrong checksum")
        return tensors, json.loads(metadata["about"])
    except (CheckpointError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged weights ({error})") from error


def _digest(tensors: Mapping[str, Tensor], about: str) -> str:
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
