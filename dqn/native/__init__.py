"""Compiled kernels of the learning path, with PyTorch's own layers beside them as the reference."""

from dqn.native.torso import (
    NativeTorso,
    TorsoShape,
    get_num_threads,
    has_bfloat16,
    is_profitable,
    set_num_threads,
    unavailable_reason,
)

__all__ = [
    "NativeTorso",
    "TorsoShape",
    "get_num_threads",
    "has_bfloat16",
    "is_profitable",
    "set_num_threads",
    "unavailable_reason",
]
