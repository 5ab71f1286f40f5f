"""The losses by the names that configurations use.

What a loss's constructor takes is its configuration.
"""

from collections.abc import Callable, Mapping

from dqn.losses.loss import Loss
from dqn.losses.td import QLearning

LOSSES: Mapping[str, Callable[..., Loss]] = {"q_learning": QLearning}


def build_loss(options: Mapping[str, object]) -> Loss:
    """The registered loss ``options["kind"]`` with the options of that kind.

    Raises:
        ValueError: an option is out of range.

    >>> build_loss({"kind": "q_learning", "error_bound": 1.0})
    QLearning(error_bound=1.0)
    """
    keywords = {name: value for name, value in options.items() if name != "kind"}
    return LOSSES[str(options["kind"])](**keywords)
