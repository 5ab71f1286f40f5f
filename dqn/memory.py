"""How much memory can be taken, counted before it is, and how much this process has taken."""

import resource
import sys
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")


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

    Of what is taken, caches of files can be dropped and do not count.
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
