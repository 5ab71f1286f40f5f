"""What a run's files and metrics are called: the contract between training and its readers.

Metrics are logged over agent steps. Tags under ``speed/`` and those that end in ``_seconds`` depend
on the clock; all others repeat exactly.
"""

import re

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
EVALUATIONS_FILE = "evaluations.jsonl"
PROVENANCE_FILE = "provenance.jsonl"
RESULT_FILE = "result.json"
EVENT_FILES = "events.out.tfevents.*"
CHECKPOINTS_DIRECTORY = "checkpoints"
BEST_WEIGHTS_FILE = "best.safetensors"  # In the directory of checkpoints.
VIDEOS_DIRECTORY = "videos"
NONFINITE_DIRECTORY = "nonfinite"

EPISODE_RETURN = "episode/return"
EPISODE_LENGTH = "episode/length"
EVALUATION_PREFIX = "eval/"
EVALUATION_RETURN_MEAN = "eval/return_mean"
EVALUATION_RETURN_STD = "eval/return_std"
EVALUATION_LENGTH_MEAN = "eval/length_mean"
TRAIN_LOSS = "train/loss"
TRAIN_Q_MEAN = "train/q_mean"
TRAIN_EPSILON = "train/epsilon"
TRAIN_GRAD_NORM = "train/grad_norm"
TRAIN_LEARNING_RATE = "train/learning_rate"
AGENT_STEPS_PER_SECOND = "speed/agent_steps_per_second"
UPDATES_PER_SECOND = "speed/updates_per_second"
EVALUATION_SECONDS = "speed/evaluation_seconds"
DIAGNOSTICS_SECONDS = "speed/diagnostics_seconds"
PEAK_MEMORY_GIGABYTES = "speed/peak_memory_gigabytes"

# What rmsprop/monitor.py, which must not import this package, writes by the same tags.
EFFECTIVE_LR_QUANTILES = ("p05", "p50", "p95")
LAYER_PREFIXES = ("effective_lr/", "effective_lr_eps_bound/", "update_ratio/")


def effective_lr_tag(parameter: str, quantile: str) -> str:
    """A quantile, one of ``EFFECTIVE_LR_QUANTILES``, of a parameter's effective learning rates.

    >>> effective_lr_tag("head.weight", "p50")
    'effective_lr/head.weight/p50'
    """
    return f"effective_lr/{parameter}/{quantile}"


def effective_lr_log10_tag(parameter: str) -> str:
    """The histogram of log10 of a parameter's effective learning rates."""
    return f"effective_lr_log10/{parameter}"


def eps_bound_tag(parameter: str) -> str:
    """The share of a parameter's elements where ε outweighs the root."""
    return f"effective_lr_eps_bound/{parameter}"


def update_ratio_tag(parameter: str) -> str:
    """The size of an update relative to its parameter, ‖Δθ‖ / ‖θ‖."""
    return f"update_ratio/{parameter}"


def parameter_of_median(tag: str) -> str | None:
    """The parameter whose median effective learning rate has this tag; None for other tags.

    >>> parameter_of_median("effective_lr/head.weight/p50"), parameter_of_median("eval/return_mean")
    ('head.weight', None)
    """
    match = re.fullmatch("effective_lr/(.*)/p50", tag)
    return match[1] if match else None
