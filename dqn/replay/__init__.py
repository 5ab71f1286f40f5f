"""Experience replay: where transitions are kept, and how they are drawn.

``ring`` stores every frame once and rebuilds transitions, ``samplers`` draw them, ``replay`` joins
the two.
"""

from dqn.replay.replay import Replay, build_sampler
from dqn.replay.ring import TransitionRing, bytes_per_transition
from dqn.replay.samplers import UniformSampler

__all__ = ["Replay", "TransitionRing", "UniformSampler", "build_sampler", "bytes_per_transition"]
