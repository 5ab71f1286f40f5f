"""Experience replay: where transitions are kept, and how they are drawn.

``ring`` stores every frame once and rebuilds transitions; ``uniform`` draws them.
"""

from dqn.replay.ring import TransitionRing, bytes_per_transition
from dqn.replay.uniform import ReplayState, UniformReplay

__all__ = ["ReplayState", "TransitionRing", "UniformReplay", "bytes_per_transition"]
