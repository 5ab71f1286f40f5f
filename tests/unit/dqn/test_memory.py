"""The allocator's settings, in processes of their own: they cannot be taken back."""

import subprocess
import sys

import pytest

from dqn import memory


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    assert memory.keep_freed_memory() is False


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False


PROGRAM = """
import ctypes, resource, sys
from dqn.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def touch(num_bytes):
    address = libc.malloc(num_bytes)
    ctypes.memset(address, 1, num_bytes)
    libc.free(address)

touch(20 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    touch(20 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_kept_memory_is_not_cleared_again():
    def page_faults(mode):
        finished = subprocess.run(
            [sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True
        )
        return int(finished.stdout)

    # 20 MiB are 5120 pages of 4 KiB, or fewer of a larger size.
    assert page_faults("keep") < 10
    assert page_faults("as it is") >= 10
