"""Memory that can be taken: the machine's, and what a container's limit leaves of it."""

import json
import subprocess
import sys

import pytest
import torch

from dqn.system import memory

CPU = torch.device("cpu")


def group(root, **files):
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_limit_of_a_container_counts_without_what_can_be_dropped(tmp_path):
    group(
        tmp_path,
        memory_DOT_max="1000\n",
        memory_DOT_current="700\n",
        memory_DOT_stat="anon 300\ninactive_file 250\nactive_file 50\nfile 400\n",
    )
    assert memory._container_bytes(tmp_path) == 1000 - 700 + 300


def test_first_version_of_control_groups_counts_too(tmp_path):
    group(
        tmp_path,
        memory__memory_DOT_limit_in_bytes="500",
        memory__memory_DOT_usage_in_bytes="600",
        memory__memory_DOT_stat="inactive_file 20\n",
    )
    assert memory._container_bytes(tmp_path) == 0, "never negative"


def test_without_a_limit_the_machine_decides(tmp_path, monkeypatch):
    group(tmp_path, memory_DOT_max="max", memory_DOT_current="1", memory_DOT_stat="")
    assert memory._container_bytes(tmp_path) is None
    assert memory._container_bytes(tmp_path / "nowhere") is None
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    3 kB\n")
    assert memory._meminfo_bytes(meminfo) == 3 * 1024
    monkeypatch.setattr(memory, "_meminfo_bytes", lambda: 3_000)
    monkeypatch.setattr(memory, "_container_bytes", lambda: 2_000)
    assert memory.available_bytes(CPU) == 2_000
    monkeypatch.setattr(memory, "_container_bytes", lambda: None)
    assert memory.available_bytes(CPU) == 3_000


def test_what_does_not_fit_is_refused_with_both_numbers_and_the_key(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2_000_000_000)
    memory.require(2_000_000_000, CPU, key="agent.batch_size", value=5, what="states")
    with pytest.raises(ValueError, match=r"^agent.batch_size=5: states need 2.50 GB but 2.00 GB"):
        memory.require(2_500_000_000, CPU, key="agent.batch_size", value=5, what="states")


@pytest.mark.skipif(sys.platform != "linux", reason="the thresholds are glibc's")
def test_freed_memory_is_kept():
    """Asked of glibc: nothing is mapped apart from its heap, which does not shrink."""
    script = """if True:
        import ctypes, json, torch
        from dqn.system.memory import keep_freed_memory
        libc = ctypes.CDLL(None)
        if not keep_freed_memory() or not hasattr(libc, "mallinfo2"):
            raise SystemExit(3)
        class Mallinfo2(ctypes.Structure):  # malloc.h
            _fields_ = [(name, ctypes.c_size_t) for name in (
                "arena", "ordblks", "smblks", "hblks", "hblkhd",
                "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]
        libc.mallinfo2.restype = Mallinfo2
        before = libc.mallinfo2()
        held = [torch.ones(5_000_000) for _ in range(5)]
        during = libc.mallinfo2()
        del held
        after = libc.mallinfo2()
        print(json.dumps([during.hblkhd - before.hblkhd, during.uordblks - before.uordblks,
                          during.arena - after.arena]))
    """
    command = [sys.executable, "-c", script]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode == 3:
        pytest.skip("not glibc's allocator, or one from before 2021")
    mapped, taken_of_the_heap, given_back = json.loads(finished.stdout)
    assert (mapped, given_back) == (0, 0)
    assert taken_of_the_heap >= 5 * 20_000_000
