"""Main and GPU memory: how much is free, how much this process took, and how it is reused."""

import ctypes
import resource
import sys
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")

# Parameters of glibc's malloc.h. It maps a block above the mmap threshold anew at each allocation,
# and returns what is free at the heap's end to the system when it exceeds the trim threshold.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT_BYTES = 32 * 2**20  # glibc's own limit, DEFAULT_MMAP_THRESHOLD_MAX
_MOST_KEPT_BYTES = 256 * 2**20


def available_bytes(device: torch.device) -> int | None:
    """Memory that can be taken on ``device`` now, or None where the system does not say.

    On the CPU the least of Linux's ``MemAvailable`` (free memory, and caches that can be dropped)
    and what a container's limit leaves.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    known = [size for size in (_meminfo_bytes(), _container_bytes()) if size is not None]
    return min(known, default=None)


def peak_resident_bytes() -> int:
    """The most main memory that this process has held at any time."""
    # ru_maxrss counts bytes on macOS and KiB elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def keep_freed_memory() -> bool:
    """Let this process use again the memory that it frees, instead of giving it back.

    Every update frees and allocates batches and gradients of the same sizes. glibc, which adapts
    its thresholds, returned them to the system in some runs and not in others. Each page that comes
    back costs a fault: 175 against 25 faults an agent step, 510 against 574 agent steps a second.

    Returns:
        Whether the allocator listens: glibc does, others do not.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(
        [
            mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES),
            mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES),
        ]
    )


def require(num_bytes: int, device: torch.device, *, key: str, value: object, what: str) -> None:
    """Refuse what does not fit, before it is allocated.

    Raises:
        ValueError: naming the key that lowers it, and both numbers.
    """
    available = available_bytes(device)
    if available is not None and num_bytes > available:
        raise ValueError(
            f"{key}={value}: {what} need {num_bytes / 1e9:.2f} GB but {available / 1e9:.2f} GB are "
            f"available on {device}; a smaller {key} needs less"
        )


def _meminfo_bytes(path: Path = Path("/proc/meminfo")) -> int | None:
    if path.exists():
        for line in path.read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(":")
            if key == "MemAvailable":
                return int(value.split()[0]) * 1024  # /proc/meminfo counts in KiB
    return None


def _container_bytes(root: Path = _CGROUP) -> int | None:
    """What the limit of the control group leaves: version 2's files, then version 1's.

    Caches of files can be dropped, so they do not count as taken.
    """
    for limit_name, taken_name, statistics_name in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            limit = (root / limit_name).read_text().strip()
            taken = int((root / taken_name).read_text())
            statistics = (root / statistics_name).read_text().split("\n")
        except (OSError, ValueError):
            continue
        if limit == "max":
            return None
        droppable = sum(
            int(line.split()[1])
            for line in statistics
            if line.split()[:1] in (["inactive_file"], ["active_file"])
        )
        return max(0, int(limit) - taken + droppable)
    return None
