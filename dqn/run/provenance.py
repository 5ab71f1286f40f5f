"""Which code, software and machine a run's numbers come from: a line for every process."""

import functools
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from dqn.run_format import PROVENANCE_FILE

_DISTRIBUTION = "rmsprop-dqn"
_SOFTWARE = ("torch", "numpy", "ale-py", "gymnasium")
_GIT_TIMEOUT_SECONDS = 10.0


def provenance(*, device: str, num_threads: int) -> dict[str, str]:
    """What the last bits of a result depend on beside the configuration.

    Args:
        device: that the network is on.
        num_threads: as configured.

    Example:
        >>> sorted(provenance(device="cpu", num_threads=1))
        ... # doctest: +NORMALIZE_WHITESPACE
        ['ale-py', 'code', 'cpu', 'device', 'gymnasium', 'machine', 'num_threads', 'numpy',
         'python', 'torch']
    """
    return {
        "code": code_version(Path(__file__).parents[2]),
        "python": platform.python_version(),
        **{name: version(name) for name in _SOFTWARE},
        "machine": platform.machine(),
        "cpu": processor_name(),
        "device": device,
        "num_threads": str(num_threads),
    }


@functools.cache
def code_version(root: Path) -> str:
    """The package's version and, of a checkout at ``root``, its commit: ``0.1.0 (3477e021aad9)``.

    A commit ends in ``-dirty``, as ``git describe`` says it, where files that git tracks have been
    changed. Where git is missing, refuses or takes too long, and of an installed package, it is
    the version alone.
    """
    released = version(_DISTRIBUTION)
    # An environment that lies in somebody's own repository must not be given its commit.
    if not (root / ".git").exists():
        return released
    # Without locks: git describe would write the index, beside a commit that its owner makes.
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch"]
    # A hook that trains would hand on the repository it was called by.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG_")
    }
    environment["GIT_CEILING_DIRECTORIES"] = str(root.resolve().parent)
    try:
        status = subprocess.run(
            [*command, "--untracked-files=no"],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return released
    commit, changes = "", ""
    for line in status.stdout.splitlines():
        if line.startswith("# branch.oid "):
            commit = line.split()[-1][:12]
        elif not line.startswith("#"):
            changes = "-dirty"
    return f"{released} ({commit}{changes})"


def append_provenance(run_dir: Path, agent_steps: int, facts: Mapping[str, str]) -> None:
    """Note in ``provenance.jsonl`` who goes on with the run from that step.

    Raises:
        OSError: the system refuses it.
    """
    line = json.dumps({"step": agent_steps, **facts}, ensure_ascii=False) + "\n"
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with open(os.open(run_dir / PROVENANCE_FILE, flags, 0o666), "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            # What a crash left of a line stays a line of its own.
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(line.encode())


@functools.cache
def processor_name() -> str:
    """The processor's name, where the system tells it: on Linux, for most architectures."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor()
