"""The tensors of a step, and the parts they are taken in."""

import pytest
import torch

from rmsprop.batch import ParameterBatch


def batch_of(dtypes, steps):
    params = [torch.full((2,), index, dtype=dtype) for index, dtype in enumerate(dtypes)]
    return ParameterBatch(
        params=params,
        grads=[param + 10 for param in params],
        steps=[torch.tensor(float(step)) for step in steps],
        states={"square_avg": [param + 20 for param in params]},
    )


def test_a_subset_has_the_tensors_themselves_and_keeps_them_together():
    batch = batch_of([torch.float32] * 3, [1, 2, 3])
    part = batch.subset([2, 0])
    assert [param[0].item() for param in part.params] == [2, 0]
    assert [grad[0].item() for grad in part.grads] == [12, 10]
    assert [step.item() for step in part.steps] == [3, 1]
    assert [state[0].item() for state in part.states["square_avg"]] == [22, 20]
    assert part.params[0] is batch.params[2]


@pytest.mark.parametrize(
    ("split", "dtypes", "steps", "parts"),
    [
        ("by_device_and_dtype", [torch.float32, torch.float64, torch.float32], [1, 1, 2], [2, 1]),
        ("by_device_and_dtype", [torch.float32] * 3, [1, 1, 2], [3]),
        ("by_step", [torch.float32] * 4, [5, 1, 5, 1], [2, 2]),
        ("by_step", [torch.float32] * 3, [5, 5, 5], [3]),
        ("by_step", [], [], []),
    ],
)
def test_every_parameter_is_in_one_part_and_parts_keep_the_order(split, dtypes, steps, parts):
    batch = batch_of(dtypes, steps)
    found = getattr(batch, split)()
    assert [len(part.params) for part in found] == parts
    for part in found:
        indices = [int(param[0]) for param in part.params]
        assert indices == sorted(indices)
        assert [int(grad[0]) - 10 for grad in part.grads] == indices
    assert sorted(int(param[0]) for part in found for param in part.params) == list(
        range(len(dtypes))
    )


def test_scaled_gradients_are_new_tensors_and_a_scale_of_one_makes_none():
    batch = batch_of([torch.float32] * 2, [1, 1])
    assert batch.with_scaled_grads(1.0) is batch
    scaled = batch.with_scaled_grads(0.5)
    assert [grad[0].item() for grad in scaled.grads] == [5.0, 5.5]
    assert [grad[0].item() for grad in batch.grads] == [10.0, 11.0]
    assert scaled.params[0] is batch.params[0]
    assert scaled.states is batch.states
