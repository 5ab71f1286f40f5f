"""Compiles ``csrc/fused_cpu.cpp`` when it is first needed, keeps the result, and loads it.

The first use of a dtype on a machine takes the compiler one or two seconds; later processes load
the library from the cache in about a millisecond. It is kept in ``$RMSPROP_CACHE_DIR``, or
``rmsprop`` in ``$XDG_CACHE_HOME`` or ``~/.cache``, under a name that depends on the source, the
compiler's flags and the processor, so that a stale or foreign library is never loaded.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

_logger = logging.getLogger("rmsprop")

_SOURCE = Path(__file__).parent / "csrc" / "fused_cpu.cpp"

# Not -ffast-math: infinities, NaN and the order of operations are to stay as in the for-loop. And
# products and sums are fused where the source says so, not where the compiler finds it faster.
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
)
# From fastest to most portable. OpenMP's functions are left undefined and resolve to the runtime
# that PyTorch has loaded, so that both share one pool of threads.
_VARIANTS = (
    ("-march=native", "-mprefer-vector-width=512", "-fopenmp"),
    ("-march=native", "-fopenmp"),
    ("-fopenmp",),
    (),
)


@functools.cache
def load_library(scalar: str) -> ctypes.CDLL:
    """The library for one type: the best one in the cache, else the best that can be built.

    Args:
        scalar: the C++ type of the parameters: ``float``, ``double``, ``bfloat16``, ``_Float16``.

    Raises:
        OSError: if there is none, with the reason.
    """
    fingerprint = _SOURCE.read_bytes() + _processor().encode()
    candidates = []
    for variant in _VARIANTS:
        flags = (*_FLAGS, f"-DRMSPROP_SCALAR={scalar}", *variant)
        key = hashlib.sha256(fingerprint + " ".join(flags).encode()).hexdigest()[:20]
        candidates.append((_cache_directory() / f"fused_cpu-{scalar}-{key}.so", flags))
    for path, _ in candidates:
        if path.exists():
            return ctypes.CDLL(str(path))
    compiler = _compiler()
    if compiler is None:
        raise OSError("no C++ compiler found (set CXX, or install g++ or clang++)")
    reasons = []
    for path, flags in candidates:
        try:
            _build(path, compiler, flags)
            return ctypes.CDLL(str(path))
        except OSError as error:
            path.unlink(missing_ok=True)
            reasons.append(str(error))
    raise OSError(reasons[-1])


def _compiler() -> str | None:
    """Path of the C++ compiler: ``$CXX`` or the usual names."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    return None


def _build(target: Path, compiler: str, flags: tuple[str, ...]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    _logger.info("compiling %s (once; %s)", _SOURCE.name, target)
    # Built beside its place and moved there, so that no process ever loads half a library.
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        object_file, library = Path(scratch) / "fused.o", Path(scratch) / "fused.so"
        _run([compiler, *flags, "-c", str(_SOURCE), "-o", str(object_file)])
        _run([compiler, "-shared", str(object_file), "-o", str(library)])
        library.replace(target)


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise OSError(f"{command[0]} failed: {lines[0]}")


def _cache_directory() -> Path:
    if chosen := os.environ.get("RMSPROP_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rmsprop"


def _processor() -> str:
    """What ``-march=native`` depends on, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return " ".join([platform.system(), platform.machine(), platform.processor(), *features[:2]])
