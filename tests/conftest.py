"""What all tests share: one thread, fixed seeds, no GPU tests where there is no GPU."""

import os
import random

import hypothesis
import numpy as np
import pytest
import torch

# Results differ in the last bits between thread counts, and pytest-xdist's processes share cores.
torch.set_num_threads(1)

# No deadline: a loaded machine is no failure. In CI the same examples every time.
hypothesis.settings.register_profile("tests", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("tests")


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Seed the global generators, so that no test depends on those that ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device, and torch.cuda.is_available() is False")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
