"""What a process that trains or plays sets up once, for itself as a whole."""

import torch

import rmsprop
from dqn.system.memory import keep_freed_memory

# PyTorch's own choice, read at import: prepare_process changes the number, and a later call in the
# same process must not take the changed one for the choice.
_DEFAULT_NUM_THREADS = torch.get_num_threads()


def prepare_process(*, num_threads: int, precision: str) -> None:
    """Set threads, float32's precision on GPUs, and how freed memory is treated.

    ``num_threads`` of PyTorch and of our C++, the torso and the optimizer's step; 0 chooses one
    thread for PyTorch, whose threads stall beside a busy neighbour, and for the C++, whose threads
    do not and whose results do not depend on their number, as many as PyTorch would have taken: one
    a core, or what ``OMP_NUM_THREADS`` allows (a sweep's jobs).

    With ``precision`` ``tf32`` GPUs multiply float32 in 19 bits, as PyTorch's convolutions do by
    default, otherwise exactly. Results on the CPU do not depend on it.
    """
    keep_freed_memory()
    rmsprop.set_num_threads(num_threads or _DEFAULT_NUM_THREADS)
    torch.set_num_threads(num_threads or 1)
    fp32_precision = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = fp32_precision
    torch.backends.cudnn.conv.fp32_precision = fp32_precision  # type: ignore[attr-defined]
