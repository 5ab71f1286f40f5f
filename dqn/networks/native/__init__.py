"""Compiled kernels of the learning path, with PyTorch's own layers beside them as the reference."""

from dqn.networks.native.torso import (
    NativeTorso,
    TorsoShape,
    has_bfloat16,
    is_profitable,
    note_written,
    unavailable_reason,
)

__all__ = [
    "NativeTorso",
    "TorsoShape",
    "has_bfloat16",
    "is_profitable",
    "note_written",
    "unavailable_reason",
]
