"""Symmetries that every path and setting must keep, bit for bit."""

import copy
import io

import pytest
import torch
from helpers.trajectories import can_fuse
from hypothesis import given, settings
from hypothesis import strategies as st
from property.test_rmsprop_identities import options

from rmsprop import Adagrad, RMSprop

PATHS = {"for-loop": {"fused": False, "foreach": False}, "foreach": {"foreach": True}}
if can_fuse():
    PATHS["fused"] = {"fused": True}

paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
seeds = st.integers(0, 2**32 - 1)
sizes = st.lists(st.integers(0, 70), min_size=1, max_size=4)
NUM_STEPS = 4


def normal(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    scales = 10.0 ** torch.randint(-6, 7, (len(sizes),), generator=generator)
    return [s * torch.randn(n, generator=generator) for n, s in zip(sizes, scales, strict=True)]


def stepped(params, gradients, options, optimizer_class=RMSprop):
    """Copies of the parameters after one step for each list of gradients; None takes no part."""
    params = [param.clone() for param in params]
    optimizer = optimizer_class(params, **options)
    for grads in gradients:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        optimizer.step()
    return params


def problem(sizes, seed):
    return normal(sizes, seed), [normal(sizes, seed + 1 + step) for step in range(NUM_STEPS)]


def assert_same_bits(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert one.view(torch.int32).tolist() == other.view(torch.int32).tolist()


@paths
@settings(deadline=None, max_examples=20)
@given(options=options(), sizes=sizes, seed=seeds)
def test_parameters_and_gradients_of_the_other_sign_give_the_other_sign(path, options, sizes, seed):
    params, gradients = problem(sizes, seed)
    mirrored = stepped(
        [-param for param in params],
        [[-grad for grad in grads] for grads in gradients],
        options | path,
    )
    # Adding 0 makes a negative zero positive.
    assert_same_bits(
        [0.0 - param for param in mirrored],
        [0.0 + param for param in stepped(params, gradients, options | path)],
    )


@paths
@settings(deadline=None, max_examples=20)
@given(options=options(), sizes=sizes, seed=seeds)
def test_maximising_is_minimising_the_negative(path, options, sizes, seed):
    params, gradients = problem(sizes, seed)
    negative = [[-grad for grad in grads] for grads in gradients]
    one = stepped(params, gradients, options | path | {"maximize": True})
    assert_same_bits(one, stepped(params, negative, options | path | {"maximize": False}))


@paths
@settings(deadline=None, max_examples=20)
@given(options=options(), sizes=sizes, seed=seeds, data=st.data())
def test_the_order_of_parameters_and_elements_does_not_matter(path, options, sizes, seed, data):
    params, gradients = problem(sizes, seed)
    order = data.draw(st.permutations(range(len(sizes))))
    shuffle = torch.Generator().manual_seed(seed)
    elements = [torch.randperm(size, generator=shuffle) for size in sizes]

    def permuted(tensors):
        return [tensors[index][elements[index]] for index in order]

    expected = permuted(stepped(params, gradients, options | path))
    actual = stepped(permuted(params), [permuted(grads) for grads in gradients], options | path)
    assert_same_bits(actual, expected)


@paths
@settings(deadline=None, max_examples=20)
@given(options=options(), size=st.integers(1, 200), seed=seeds, data=st.data())
def test_a_tensor_in_two_pieces_steps_as_the_whole(path, options, size, seed, data):
    cut = data.draw(st.integers(0, size))
    [whole], gradients = problem([size], seed)
    pieces = stepped(
        whole.split([cut, size - cut]),
        [grad.split([cut, size - cut]) for [grad] in gradients],
        options | path,
    )
    assert_same_bits([torch.cat(pieces)], stepped([whole], gradients, options | path))


@paths
@pytest.mark.parametrize("optimizer_class", [RMSprop, Adagrad])
@settings(deadline=None, max_examples=20)
@given(options=options(), sizes=sizes, seed=seeds, data=st.data())
def test_a_run_saved_and_loaded_anywhere_continues_bit_for_bit(
    optimizer_class, path, options, sizes, seed, data
):
    if optimizer_class is Adagrad:
        options = {key: options[key] for key in ("lr", "eps", "weight_decay", "eps_inside_sqrt")}
    params, gradients = problem(sizes, seed)
    for grads in gradients:  # Parameters that have taken different numbers of steps.
        grads[data.draw(st.integers(0, len(sizes) - 1))] = None
    expected = stepped(params, gradients, options | path, optimizer_class)

    stop = data.draw(st.integers(0, NUM_STEPS))
    first_params = [param.clone() for param in params]
    first = optimizer_class(first_params, **options, **path)
    for grads in gradients[:stop]:
        for param, grad in zip(first_params, grads, strict=True):
            param.grad = grad
        first.step()
    file = io.BytesIO()
    torch.save((first_params, first.state_dict()), file)
    file.seek(0)
    last_params, state_dict = torch.load(file, weights_only=True)
    last = optimizer_class(last_params, **copy.copy(path))
    last.load_state_dict(state_dict)
    for grads in gradients[stop:]:
        for param, grad in zip(last_params, grads, strict=True):
            param.grad = grad
        last.step()
    assert_same_bits(last_params, expected)


@paths
@settings(deadline=None, max_examples=20)
@given(seed=seeds, alpha=st.sampled_from([0.5, 0.9, 0.99, 0.999]), inside=st.booleans())
def test_steady_gradients_never_make_the_centred_rule_step_to_nan(path, seed, alpha, inside):
    # The variance cancels: without the clamp, some of these roots are of negative numbers.
    [param], [[grad], *_] = problem([64], seed)
    options = {"centered": True, "alpha": alpha, "eps_inside_sqrt": inside, "eps": 1e-8}
    [result] = stepped([param], [[grad]] * 60, options | path)
    assert result.isfinite().all()
