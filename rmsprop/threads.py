"""Threads of the C++ code on the CPU: how many, and whether they are PyTorch's.

The fused step takes both answers from here, other C++ on ``csrc/thread_pool.hpp`` the number.
"""

from __future__ import annotations

import os

import torch

_num_threads: int | None = None
_is_forked = False


def _note_fork() -> None:
    global _is_forked
    _is_forked = True


if hasattr(os, "register_at_fork"):  # Windows has neither this function nor forks.
    os.register_at_fork(after_in_child=_note_fork)


def set_num_threads(num_threads: int | None) -> None:
    """Threads of the fused step on the CPU, for all optimizers of this process.

    Other C++ on ``csrc/thread_pool.hpp`` asks for the same number.

    By default they are PyTorch's, which are awake when a backward pass has just ended. A number
    gives the step threads of its own. Choose one where PyTorch computes with one thread, and where
    other processes keep cores busy: PyTorch's threads wait for each other at every step and would
    stall there. The result is the same for every number, and for both kinds.

    Args:
        num_threads: None for PyTorch's, ``torch.get_num_threads()`` of them.

    Raises:
        ValueError: ``num_threads`` is not positive.

    >>> set_num_threads(2)
    >>> get_num_threads()
    2
    >>> set_num_threads(None)
    """
    global _num_threads
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads={num_threads} must be at least 1, or None")
    _num_threads = num_threads


def get_num_threads() -> int:
    """Threads of the fused step on the CPU."""
    return torch.get_num_threads() if _num_threads is None else _num_threads


def may_use_openmp() -> bool:
    """Whether the C++ code may compute with PyTorch's threads, which are OpenMP's.

    Not if a number was set, which asks for threads of the code's own. And not in a forked process:
    OpenMP's threads do not survive a fork, and a child that asks for them hangs.
    """
    return _num_threads is None and not _is_forked
