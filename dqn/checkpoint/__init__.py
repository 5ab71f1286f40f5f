"""Checkpoints: a whole run in one directory that can be trusted, or is recognised as damaged."""

from dqn.checkpoint.errors import CheckpointError
from dqn.checkpoint.store import (
    Checkpoint,
    available,
    load,
    load_newest,
    path_at,
    save,
    set_aside_after,
    tidy,
)
from dqn.checkpoint.weights import load_weights, save_weights

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "available",
    "load",
    "load_newest",
    "load_weights",
    "path_at",
    "save",
    "save_weights",
    "set_aside_after",
    "tidy",
]
