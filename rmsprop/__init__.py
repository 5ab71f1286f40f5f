"""RMSprop from scratch for PyTorch: every dialect, one class, and a view of what it does.

>>> import torch, rmsprop as optim
>>> model = torch.nn.Linear(3, 1)
>>> optimizer = optim.RMSprop(model.parameters(), lr=0.01, alpha=0.9, eps=1e-8)

Read :mod:`rmsprop.rule` first: it is the mathematics. Then :mod:`rmsprop.optimizer` for the class,
:mod:`rmsprop.dialects` for the settings of other libraries, :mod:`rmsprop.effective_lr` for
effective learning rates, :mod:`rmsprop.summaries` for their spread, :mod:`rmsprop.monitor` to log
it from any training script, and :mod:`rmsprop.step_size` to convert one setting's constants to
another's step size.
"""

from rmsprop.adagrad import Adagrad
from rmsprop.dialects import RMSpropOptions, dialects
from rmsprop.effective_lr import effective_learning_rates, update_ratios
from rmsprop.monitor import EffectiveLearningRateMonitor
from rmsprop.optimizer import RMSprop
from rmsprop.step_size import (
    StepSize,
    convert_rmsprop,
    effective_step_size,
    gradient_scale,
    matching_constants,
)
from rmsprop.summaries import LayerSummary, Log10Histogram, effective_learning_rate_summaries
from rmsprop.threads import get_num_threads, set_num_threads

__all__ = [
    "Adagrad",
    "EffectiveLearningRateMonitor",
    "LayerSummary",
    "Log10Histogram",
    "RMSprop",
    "RMSpropOptions",
    "StepSize",
    "convert_rmsprop",
    "dialects",
    "effective_learning_rate_summaries",
    "effective_learning_rates",
    "effective_step_size",
    "get_num_threads",
    "gradient_scale",
    "matching_constants",
    "set_num_threads",
    "update_ratios",
]
