"""Uniform replays, and a recount by brute force of what their rings keep incrementally."""

import numpy as np

from dqn.replay import Replay, TransitionRing, UniformSampler


def uniform_replay(*, seed=0, **layout):
    return Replay(TransitionRing(**layout), UniformSampler(seed))


def fields_of(batch):
    """The fields of a batch by name, but for the weights that uniform replay leaves out."""
    assert batch.weights is None
    return {name: field for name, field in batch._asdict().items() if name != "weights"}


def check_valid(replay):
    index = replay._ring.index
    slot = index.slot(np.arange(index.size))
    age = index.age[:, slot].astype(np.int64)
    is_transition = index.is_transition[:, slot]
    ages_on = age[:, 1:] == np.minimum(age[:, :-1] + 1, index.stack_size)
    assert (ages_on | (age[:, 1:] == 0)).all(), "an age neither restarts nor goes on by one"
    leads_on = is_transition[:, :-1] & (age[:, 1:] == 0)
    assert not leads_on.any(), "a transition leads into another game"
    if index.size < index.slots:
        assert (age[:, :1] == 0).all(), "the first slot written does not open a game"
    assert index._num_transitions == int(index.is_transition.sum())
