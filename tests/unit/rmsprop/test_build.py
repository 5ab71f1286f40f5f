"""Compiling the fused step: the cache, what can fail, and that nobody waits for it in vain."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from rmsprop import RMSprop, build, fused

build_or_reason = build._library_or_reason.__wrapped__
needs_compiler = pytest.mark.skipif(
    build._compiler() is None, reason="no C++ compiler on this machine"
)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, in a folder with a space; quick, unoptimised builds; nothing remembered."""
    directory = tmp_path / "a cache"
    monkeypatch.setenv("RMSPROP_CACHE_DIR", str(directory))
    monkeypatch.setattr(build, "_FLAGS", ("-std=c++2a", "-O0", "-fPIC", "-pthread"))
    build._library_or_reason.cache_clear()
    yield directory
    build._library_or_reason.cache_clear()


@pytest.fixture
def commands(monkeypatch):
    """The compiler's command lines, as they are run."""
    lines, run = [], build._run

    def record(command):
        lines.append(command)
        run(command)

    monkeypatch.setattr(build, "_run", record)
    return lines


@needs_compiler
def test_a_library_in_the_cache_is_loaded_without_a_compiler(cache):
    with pytest.MonkeyPatch.context() as without_compiler:
        without_compiler.setattr(build, "_compiler", lambda: None)
        with pytest.raises(OSError, match="no C\\+\\+ compiler found"):
            build.load_library("float")
    build._library_or_reason.cache_clear()
    assert build.load_library("float").rmsprop_step
    build._library_or_reason.cache_clear()
    with pytest.MonkeyPatch.context() as without_compiler:
        without_compiler.setattr(build, "_compiler", lambda: None)
        assert build.load_library("float").rmsprop_step
    assert [path.suffix for path in cache.iterdir()] == [".so"]


@needs_compiler
def test_a_damaged_library_in_the_cache_is_built_anew(cache):
    build_or_reason("float")
    [built] = cache.iterdir()
    # In another file, as rewriting one that is loaded would end this process.
    built.unlink()
    built.write_bytes(b"not a library")
    assert build_or_reason("float").rmsprop_step
    assert built.stat().st_size > 1000


@needs_compiler
def test_another_processor_or_source_has_a_library_of_its_own(cache, monkeypatch, tmp_path):
    build_or_reason("float")
    monkeypatch.setattr(build, "_processor", lambda: "another processor")
    build_or_reason("float")
    source = tmp_path / "source.cpp"
    source.write_text(build._SOURCE.read_text() + "// changed")
    monkeypatch.setattr(build, "_SOURCE", source)
    build_or_reason("float")
    assert len(list(cache.iterdir())) == 3


@needs_compiler
def test_a_changed_header_beside_a_source_is_compiled_again(cache, tmp_path):
    source, header = tmp_path / "value.cpp", tmp_path / "value.hpp"
    source.write_text('#include "value.hpp"\nextern "C" int value() { return VALUE; }\n')
    values = []
    for value in (1, 2, 1):
        header.write_text(f"#define VALUE {value}\n")
        values.append(build.find_or_build(source, "value", ()).value())
    assert values == [1, 2, 1]
    assert len(list(cache.glob("value-*.so"))) == 2  # the third was found


@needs_compiler
@pytest.mark.parametrize("home", ["none", "a file"])
def test_without_a_place_for_a_cache_the_process_builds_for_itself(
    cache, monkeypatch, tmp_path, home
):
    for variable in ("RMSPROP_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    if home == "none":
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    else:
        (tmp_path / "file").touch()
        monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert build_or_reason("float").rmsprop_step


@needs_compiler
def test_processes_that_build_at_once_leave_one_whole_library(cache):
    with ThreadPoolExecutor(4) as pool:
        libraries = list(pool.map(build_or_reason, ["float"] * 4))
    assert all(library.rmsprop_step for library in libraries)
    assert [path.suffix for path in cache.iterdir()] == [".so"]


@needs_compiler
def test_a_build_that_is_interrupted_leaves_nothing_and_can_be_repeated(cache, monkeypatch):
    run = build._run

    def interrupted(command):
        run(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build.load_library("float")
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(build, "_run", run)
    assert build.load_library("float").rmsprop_step


def test_a_compiler_that_fails_is_run_once_a_process_and_its_complaint_reported(
    cache, monkeypatch, tmp_path, commands
):
    compiler = tmp_path / "broken-c++"
    # Latin-1, whatever the locale.
    compiler.write_bytes(b"#!/bin/sh\nprintf 'fatal: d\\351faut\\n' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    for _ in range(3):
        with pytest.raises(OSError, match=r"broken-c\+\+ failed: fatal: d.faut"):
            build.load_library("float")
    assert len(commands) == len(build._VARIANTS)
    assert list(cache.iterdir()) == []


def test_fused_false_and_import_compile_nothing(tmp_path):
    script = (
        "import torch, rmsprop\n"
        "for optimizer_class in (rmsprop.RMSprop, rmsprop.Adagrad):\n"
        "    param = torch.ones(3)\n"
        "    param.grad = torch.ones(3)\n"
        "    for path in ({}, {'foreach': True}):\n"
        "        optimizer_class([param], fused=False, **path).step()\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    environment = os.environ | {"RMSPROP_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run(command, env=environment, check=True, timeout=120)
    assert not (tmp_path / "cache").exists()


@needs_compiler
def test_the_source_compiles_without_a_warning(tmp_path):
    command = [build._compiler(), *build._FLAGS, "-fopenmp-simd", "-Wall", "-Wextra", "-Werror"]
    command += ["-DRMSPROP_SCALAR=float", "-fsyntax-only", str(build._SOURCE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@needs_compiler
def test_portable_build_takes_the_same_steps(cache, monkeypatch):
    # For compilers that know neither -march=native nor OpenMP, nor atomics that wait (GCC 10).
    monkeypatch.setattr(build, "_FLAGS", (*build._FLAGS, "-std=c++17"))
    monkeypatch.setattr(build, "_VARIANTS", ((),))
    param = torch.linspace(-1, 1, 100)
    twin = param.clone()
    fused._cpu_function.cache_clear()
    try:
        optimizers = RMSprop([param], fused=True), RMSprop([twin], fused=False)
        for _ in range(3):
            param.grad, twin.grad = param.cos(), twin.cos()
            for optimizer in optimizers:
                optimizer.step()
    finally:
        fused._cpu_function.cache_clear()
    torch.testing.assert_close(param, twin, rtol=1e-5, atol=1e-6)
