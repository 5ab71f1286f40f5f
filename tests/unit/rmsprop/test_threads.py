"""How many threads the C++ code takes, and that it takes none of PyTorch's after a fork."""

import subprocess
import sys

import pytest
import torch
from helpers.trajectories import can_fuse

from rmsprop import get_num_threads, set_num_threads

needs_compiler = pytest.mark.skipif(not can_fuse(), reason="no C++ compiler on this machine")


def test_number_of_threads_is_pytorchs_unless_it_is_set():
    assert get_num_threads() == torch.get_num_threads()
    with pytest.raises(ValueError, match="num_threads=0 must be at least 1"):
        set_num_threads(0)


@needs_compiler
@pytest.mark.parametrize("chosen", [3, None])
def test_a_forked_process_steps_although_its_parent_had_threads(chosen):
    """OpenMP's threads do not survive a fork: a child that used them would hang."""
    script = f"""if True:
        import os, signal, torch, rmsprop
        torch.set_num_threads(1 if {chosen} else 3)
        rmsprop.set_num_threads({chosen})
        param = torch.zeros(300_000)
        param.grad = torch.ones(300_000)
        optimizer = rmsprop.RMSprop([param], lr=0.1, fused=True)
        optimizer.step()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            optimizer.step()
            os._exit(0)
        optimizer.step()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    """
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
