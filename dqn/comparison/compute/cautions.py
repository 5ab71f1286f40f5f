"""What is wrong with a comparison: too few runs, unfinished ones, mixed settings and protocols."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dqn.comparison.run import Run
from dqn.saved_config import CHOICE_KEYS

# With fewer runs bootstrap intervals cover less than they claim (docs/comparing.md).
FEW_RUNS = 5
# These settings say where and how fast a run went, and of what game and seed it is. They do not
# distinguish two experiments.
INCIDENTAL = frozenset(
    {
        *CHOICE_KEYS,
        "checkpoint.period_agent_steps",
        "device",
        "env.game",
        "env.id",
        "env.num_threads",
        "logging.histograms",
        "logging.period_agent_steps",
        "num_threads",
        "overwrite",
        "run_dir",
        "seed",
        "evaluation.video",
    }
)


def cautions(
    selected: Mapping[tuple[str, str], Sequence[Run]], group_by: Sequence[str]
) -> list[str]:
    """What a reader of a comparison must know before believing it, one sentence each.

    Args:
        selected: the runs of each group on each game.
        group_by: what groups were formed by.
    """
    warnings = _cautions_of_counts({key: len(members) for key, members in selected.items()})
    groups: dict[str, list[Run]] = {}
    for (group, _), members in selected.items():
        groups.setdefault(group, []).extend(members)
    every_run = [run for members in groups.values() for run in members]
    for what, name in (("protocol", "Protocols"), ("score_kind", "Kinds of return")):
        values = {group: _values_of(members, what) for group, members in groups.items()}
        if len({tuple(value) for value in values.values()}) > 1:
            shown = "; ".join(f"{group}: {' / '.join(v)}" for group, v in values.items())
            warnings.append(f"{name} differ, so scores are not strictly comparable: {shown}.")
    for group, members in groups.items():
        warnings += _cautions_of_group(group, members, group_by)
    codes = list(dict.fromkeys(code for run in every_run for code in run.codes))
    if len(codes) > 1:
        warnings.append(
            f"{len(codes)} versions of the code computed these runs ({shorten(codes)}); the column "
            "code of runs.csv says which."
        )
    solved = [run for run in every_run if run.is_solved]
    if solved:
        warnings.append(
            f"{len(solved)} runs stopped early at their target score; from there on their curves "
            "stay at the last score, which need not be what training on would have given."
        )
    return warnings


def _cautions_of_counts(counts: Mapping[tuple[str, str], int]) -> list[str]:
    """Whether there are too few runs of a group on a game, or more of one than of another."""
    warnings = []
    few = sorted({group for (group, _), count in counts.items() if count < FEW_RUNS})
    if few:
        fewest = min(counts.values())
        warnings.append(
            f"Too few seeds: {shorten(few)} {'has' if len(few) == 1 else 'have'} as few as "
            f"{fewest} run{'s' * (fewest != 1)} on a game. Below {FEW_RUNS} intervals are too "
            "narrow and no ranking should be drawn from them."
        )
    if len(set(counts.values())) > 1:
        warnings.append(
            f"Groups have between {min(counts.values())} and {max(counts.values())} runs a game; "
            "the IQM pools runs, so games with more of them weigh more in it."
        )
    return warnings


def _cautions_of_group(group: str, runs: Sequence[Run], group_by: Sequence[str]) -> list[str]:
    warnings = []
    mixed = differing_settings(runs)
    if mixed:
        shown = ", ".join(
            f"{key} ({', '.join(str(value) for value in values)})"
            for key, values in list(mixed.items())[:4]
        )
        more = f" and {len(mixed) - 4} more" if len(mixed) > 4 else ""
        keys = ",".join([*group_by, next(iter(mixed))])
        warnings.append(
            f"{group} mixes runs of different settings: {shown}{more}. "
            f"--group-by {keys} keeps them apart."
        )
    repeated = [
        f"{game} seed {seed}"
        for (game, seed), count in Counter((run.game, run.seed) for run in runs).items()
        if count > 1
    ]
    if repeated:
        warnings.append(
            f"{group} holds several runs of the same game and seed ({shorten(repeated)}); "
            "they count as independent."
        )
    return warnings


def describe_unfinished(runs: Sequence[Run], skipped: bool) -> str:
    """Which runs are unfinished, how far they are, and what was done with them."""
    shown = shorten(
        [f"{run.source} ({run.last_step:,.0f} of {run.planned_agent_steps:,})" for run in runs]
    )
    consequence = "left out" if skipped else "all are compared where the shortest of them ends"
    number = "1 run is" if len(runs) == 1 else f"{len(runs)} runs are"
    warning = f"{number} unfinished, {consequence}: {shown}."
    if diverged := [run.source for run in runs if run.has_diverged]:
        warning += (
            f" Of these, {shorten(diverged)} became infinite or NaN: without them a setting looks "
            "better than it is."
        )
    return warning


def _values_of(runs: Iterable[Run], attribute: str) -> list[str]:
    return sorted({str(getattr(run, attribute) or "unknown") for run in runs})


def differing_settings(runs: Iterable[Run]) -> dict[str, list[object]]:
    """Settings that are not the same in all runs whose configuration is known, with their values.

    What a run is of (its game, its seed) and what cannot change its scores is left out.
    """
    known = [run.settings for run in runs if run.settings]
    keys = sorted({key for settings in known for key in settings} - INCIDENTAL)
    differing = {}
    for key in keys:
        values = list({repr(settings.get(key)): settings.get(key) for settings in known}.values())
        if len(values) > 1:
            differing[key] = values
    return differing


def shorten(names: Sequence[str], limit: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
