"""What a benchmark says of the machine it ran on."""

from __future__ import annotations

import os
from typing import Any

import torch

from dqn.run.provenance import processor_name


def describe_machine() -> dict[str, Any]:
    """Processor, number of cores this process may use, PyTorch's version and GPU."""
    return {
        "cpu": processor_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }
