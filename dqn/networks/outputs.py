"""What networks return: one type for each way to say what actions are worth."""

from typing import NamedTuple, TypeAlias

from torch import Tensor


class QValues(NamedTuple):
    """One number an action.

    Attributes:
        q_values: ``[batch, num_actions]`` float32, under autocast too.
    """

    q_values: Tensor


# Every type has ``q_values``: acting and telemetry read nothing else.
QOutput: TypeAlias = QValues
