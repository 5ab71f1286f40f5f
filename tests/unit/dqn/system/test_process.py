"""What a process sets up for itself, read back from PyTorch and from rmsprop."""

import pytest
import torch

import rmsprop
from dqn.system import process


@pytest.fixture(autouse=True)
def as_before():
    torch_threads, conv, matmul = torch.get_num_threads(), *_precisions()
    yield
    torch.set_num_threads(torch_threads)
    rmsprop.set_num_threads(None)
    torch.backends.cudnn.conv.fp32_precision = conv
    torch.backends.cuda.matmul.fp32_precision = matmul


def _precisions():
    return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


@pytest.mark.parametrize(
    ("num_threads", "torch_threads", "our_threads"), [(3, 3, 3), (1, 1, 1), (0, 1, 5)]
)
def test_threads(monkeypatch, num_threads, torch_threads, our_threads):
    monkeypatch.setattr(process, "_DEFAULT_NUM_THREADS", 5)
    process.prepare_process(num_threads=num_threads, precision="fp32")
    assert (torch.get_num_threads(), rmsprop.get_num_threads()) == (torch_threads, our_threads)


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee")]
)
def test_float32_is_exact_on_gpus_unless_tf32_is_asked_for(precision, expected):
    process.prepare_process(num_threads=1, precision=precision)
    assert _precisions() == (expected, expected)
