"""Checkpoints: a whole run in one directory that can be trusted, or is recognised as damaged."""

from dqn.checkpoint.errors import CheckpointError, CheckpointFormatError
from dqn.checkpoint.segments import FrameStore
from dqn.checkpoint.store import (
    NUM_KEPT,
    TEMPORARY_PREFIX,
    Checkpoint,
    available,
    load,
    load_newest,
    path_at,
    save,
    set_aside_after,
    sweep,
)
from dqn.checkpoint.weights import load_weights, save_weights

__all__ = [
    "NUM_KEPT",
    "TEMPORARY_PREFIX",
    "Checkpoint",
    "CheckpointError",
    "CheckpointFormatError",
    "FrameStore",
    "available",
    "load",
    "load_newest",
    "load_weights",
    "path_at",
    "save",
    "save_weights",
    "set_aside_after",
    "sweep",
]
