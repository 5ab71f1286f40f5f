"""Compiles C++ sources when they are first needed, keeps the result, and loads it.

The first use of ``csrc/fused_cpu.cpp`` for a dtype on a machine takes the compiler one or two
seconds; later processes load the library from the cache in about a millisecond. It is kept in
``$RMSPROP_CACHE_DIR``, or ``rmsprop`` in ``$XDG_CACHE_HOME`` or ``~/.cache``, under a name that
depends on the source, the compiler's flags and the processor, so that a stale or foreign library is
never loaded. Where that cannot be written, every process compiles for itself, in a temporary
folder.
"""

from __future__ import annotations

import contextlib
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
# Every source may include these headers, also a source of another package.
_HEADERS = (Path(__file__).parent / "csrc" / "thread_pool.hpp",)

# -ffast-math is absent: infinities, NaN and the order of operations must stay as in the for-loop.
# -ffp-contract=off lets the source alone decide where a product and a sum are fused.
_FLAGS = (
    "-std=c++2a",  # the name of C++20 that compilers from before 2020 know too
    "-O3",
    "-fPIC",
    "-pthread",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
)
# Variants go from the fastest to the most portable. OpenMP's functions are left undefined and
# resolve to the runtime that PyTorch has loaded, so that both share its threads. If PyTorch has
# loaded another runtime, the library does not load, and the next variant takes only OpenMP's hints
# for loops.
_VARIANTS = (
    ("-march=native", "-mprefer-vector-width=512", "-fopenmp"),
    ("-march=native", "-mprefer-vector-width=512", "-fopenmp-simd"),
    ("-march=native", "-fopenmp"),
    ("-march=native", "-fopenmp-simd"),
    ("-fopenmp",),
    ("-fopenmp-simd",),
    (),
)


def load_library(scalar: str) -> ctypes.CDLL:
    """The library for one type: the best one in the cache, else the best that can be built.

    Args:
        scalar: the C++ type of the parameters: ``float``, ``double``, ``bfloat16``, ``_Float16``.

    Raises:
        OSError: if there is none, with the reason; nothing is tried a second time in a process.
    """
    found = _library_or_reason(scalar)
    if isinstance(found, str):
        raise OSError(found)
    return found


# Failures are remembered too: a compiler that fails must not be run anew at every step.
@functools.cache
def _library_or_reason(scalar: str) -> ctypes.CDLL | str:
    try:
        return find_or_build(_SOURCE, f"fused_cpu-{scalar}", (f"-DRMSPROP_SCALAR={scalar}",))
    except OSError as error:
        return str(error)


def find_or_build(source: Path, stem: str, extra_flags: tuple[str, ...]) -> ctypes.CDLL:
    """The library of one C++ source: the best one in the cache, else the best that can be built.

    Args:
        source: one file, which may include headers (``*.hpp``) beside it and
            ``csrc/thread_pool.hpp`` of this package.
        stem: how the library's name in the cache begins.
        extra_flags: for the compiler, after ours.

    Raises:
        OSError: if there is none, with the reason.
    """
    headers = sorted({*source.parent.glob("*.hpp"), *_HEADERS})
    sources = b"".join(file.read_bytes() for file in (source, *headers))
    fingerprint = sources + _processor().encode()
    directory = _cache_directory()
    candidates = []
    for variant in _VARIANTS:
        flags = (*_FLAGS, *extra_flags, *variant)
        key = hashlib.sha256(fingerprint + " ".join(flags).encode()).hexdigest()[:20]
        candidates.append((f"{stem}-{key}.so", flags))
    if directory is not None:
        for name, _ in candidates:
            # A damaged library does not load, and the next candidate is tried.
            with contextlib.suppress(OSError):
                return ctypes.CDLL(str(directory / name))
    compiler = _compiler()
    if compiler is None:
        raise OSError("no C++ compiler found (set CXX, or install g++ or clang++)")
    reason = ""
    for name, flags in candidates:
        try:
            return _build(compiler, source, flags, directory, name)
        except OSError as error:
            reason = str(error)
    raise OSError(reason)


def _compiler() -> str | None:
    """Path of the C++ compiler: ``$CXX`` or the usual names."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    return None


def _build(
    compiler: str, source: Path, flags: tuple[str, ...], directory: Path | None, name: str
) -> ctypes.CDLL:
    """Compile, load, and keep as ``directory / name`` if that can be written."""
    _logger.info("compiling %s (once; cache: %s)", source.name, directory)
    include = f"-I{_HEADERS[0].parent}"
    with _scratch(directory) as scratch:
        object_file, library = Path(scratch) / "object.o", Path(scratch) / "library.so"
        _run([compiler, *flags, include, "-c", str(source), "-o", str(object_file)])
        _run([compiler, "-shared", "-pthread", str(object_file), "-o", str(library)])
        loaded = ctypes.CDLL(str(library))
        # The library is moved whole, and only after it has loaded: another process never finds half
        # a library, nor a broken one in place of one that works.
        if directory is not None:
            with contextlib.suppress(OSError):
                library.replace(directory / name)
        return loaded


def _scratch(directory: Path | None) -> tempfile.TemporaryDirectory[str]:
    """A folder in ``directory``, from which a move is atomic; else a temporary one elsewhere."""
    if directory is not None:
        with contextlib.suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryDirectory(dir=directory)
    return tempfile.TemporaryDirectory()


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, check=False)
    if result.returncode != 0:
        complaint = result.stderr.decode(errors="replace").strip()
        complaint = complaint or f"exit status {result.returncode}"
        raise OSError(f"{command[0]} failed: {complaint.splitlines()[0]}")


def _cache_directory() -> Path | None:
    """Where libraries are kept between processes; None for a user without a home."""
    if chosen := os.environ.get("RMSPROP_CACHE_DIR"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "rmsprop"
    try:
        return Path.home() / ".cache" / "rmsprop"
    except RuntimeError:
        return None


def _processor() -> str:
    """What ``-march=native`` depends on, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return " ".join([platform.system(), platform.machine(), platform.processor(), *features[:2]])
