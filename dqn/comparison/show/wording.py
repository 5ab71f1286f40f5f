"""Phrases that figures, tables and page share, so that each thing has one name."""

from dqn.comparison.compute.results import Comparison
from dqn.comparison.statistics import Interval
from dqn.run_format import parameter_of_median


def weight_layers(comparison: Comparison, game: str) -> list[str]:
    """Parameters that are drawn: weights in the network's order; all where none is named so."""
    names = dict.fromkeys(
        name
        for curves in comparison.layers[game].values()
        for tag in curves
        if (name := parameter_of_median(tag)) is not None
    )
    return [name for name in names if name.endswith("weight")] or list(names) or ["parameters"]


def ranked_groups(comparison: Comparison) -> list[str]:
    """Groups by IQM, the best first; by name where there are no aggregates."""
    intervals = comparison.aggregates.get("IQM", {})
    return sorted(
        comparison.selection.groups,
        key=lambda group: -float(intervals[group].estimate) if intervals else 0.0,
    )


def score_unit(comparison: Comparison) -> str:
    """What aggregates are of."""
    if not comparison.is_normalised:
        return "return"
    if set(comparison.inference.references or {}) & set(comparison.aggregate_games):
        return "normalised score"
    return "human-normalised score"


def describe_target(comparison: Comparison) -> str:
    """Where the targets of the sample efficiency come from."""
    if comparison.inference.target is not None:
        return "The target is the one that was asked for."
    return (
        "Each game's target lies three quarters of the way from the mean first score to the best "
        "group's mean score at the end, so it depends on what is compared."
    )


def percent(comparison: Comparison) -> str:
    return f"{comparison.inference.confidence:.0%}"


def in_words(interval: Interval) -> str:
    estimate, low, high = (float(value) for value in interval)
    return f"{estimate:.3g} ({low:.3g} to {high:.3g})"
