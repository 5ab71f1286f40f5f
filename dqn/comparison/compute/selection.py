"""Which runs are compared with which, and up to where."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from dqn.comparison.compute.cautions import cautions, describe_unfinished, shorten
from dqn.comparison.run import NAMES, STEP_TOLERANCE, Curve, InputError, Run

GroupGame: TypeAlias = tuple[str, str]
Axis: TypeAlias = Literal["steps", "frames"]
AXIS_UNITS: Mapping[Axis, str] = {"steps": "agent steps", "frames": "emulator frames"}


@dataclass(frozen=True)
class Selection:
    """Groups of runs on games that all of them have played.

    Attributes:
        groups: names, sorted.
        games: names, sorted.
        runs: the runs of each group on each game, at least one; steps in the unit of ``axis``.
        ends: for each game, the last step that every run has reached.
        axis: the unit of all steps.
        warnings: one sentence each, for the reader of the comparison.
    """

    groups: tuple[str, ...]
    games: tuple[str, ...]
    runs: Mapping[GroupGame, tuple[Run, ...]]
    ends: Mapping[str, float]
    axis: Axis
    warnings: tuple[str, ...]

    def of_group(self, group: str) -> list[Run]:
        """All runs of a group, game by game."""
        return [run for game in self.games for run in self.runs[group, game]]

    @property
    def all_runs(self) -> list[Run]:
        """All runs, group by group."""
        return [run for group in self.groups for run in self.of_group(group)]


def select(
    runs: Sequence[Run],
    *,
    group_by: Sequence[str] = ("optimizer",),
    only_groups: Sequence[str] = (),
    only_games: Sequence[str] = (),
    axis: Axis = "steps",
    at: float | None = None,
    skip_unfinished: bool = False,
) -> Selection:
    """Group runs, keep the games that all groups share, and find where they can be compared.

    Args:
        runs: of any source.
        group_by: ``optimizer``, ``protocol``, ``variant`` or dotted keys of the configuration.
        only_groups: names of groups to keep; empty keeps all.
        only_games: games to keep; empty keeps all that all groups share.
        axis: unit of steps.
        at: compare at this step rather than at the last that all runs reached.
        skip_unfinished: leave out runs that are not as long as configured.

    Raises:
        InputError: nothing is left to compare, or ``at`` is beyond the shortest run.
    """
    warnings: list[str] = []
    unfinished = [run for run in runs if run.is_unfinished]
    if unfinished:
        warnings.append(describe_unfinished(unfinished, skip_unfinished))
    if skip_unfinished:
        runs = [run for run in runs if not run.is_unfinished]
    by_group = _group(runs, group_by, only_groups, axis)
    games, left_out = _shared_games(by_group, only_games)
    if left_out:
        warnings.append(
            f"{len(left_out)} games that some groups have not played are left out: "
            f"{shorten(left_out)}."
        )
    grid = {
        (group, game): tuple(run for run in members if run.game == game)
        for group, members in sorted(by_group.items())
        for game in games
    }
    ends = {game: _end(game, grid, at, axis) for game in games}
    return Selection(
        groups=tuple(sorted(by_group)),
        games=tuple(games),
        runs=grid,
        ends=ends,
        axis=axis,
        warnings=(*warnings, *cautions(grid, group_by)),
    )


def _group(
    runs: Iterable[Run], group_by: Sequence[str], only_groups: Sequence[str], axis: Axis
) -> dict[str, list[Run]]:
    """Runs by the name of their group, steps in the unit of ``axis``."""
    by_group: dict[str, list[Run]] = {}
    for run in runs:
        by_group.setdefault(group_name(run, group_by), []).append(_rescale(run, axis))
    if only_groups:
        _require("--only", only_groups, by_group)
        by_group = {name: by_group[name] for name in only_groups}
    if not by_group:
        raise InputError("RUNS: no run is left to compare")
    return by_group


def group_name(run: Run, keys: Sequence[str]) -> str:
    """The group a run belongs to: values of the keys it is grouped by.

    Optimizer, protocol and variant are names by themselves; other keys come with their value.
    """
    return ", ".join(
        str(run.setting(key)) if key in NAMES else f"{key}={run.setting(key)}" for key in keys
    )


def _rescale(run: Run, axis: Axis) -> Run:
    if axis == "steps" or run.frames_per_agent_step == 1:
        return run
    factor = run.frames_per_agent_step

    def scale(curve: Curve) -> Curve:
        return Curve(curve.steps * factor, curve.values)

    planned = run.planned_agent_steps
    return dataclasses.replace(
        run,
        scores=scale(run.scores),
        seconds=None if run.seconds is None else scale(run.seconds),
        diagnostics={tag: scale(curve) for tag, curve in run.diagnostics.items()},
        planned_agent_steps=None if planned is None else int(planned * factor),
    )


def _shared_games(
    by_group: Mapping[str, Sequence[Run]], only_games: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The games that are compared, and those left out because some groups have not played them."""
    played = [{run.game for run in members} for members in by_group.values()]
    shared = set.intersection(*played)
    if not shared:
        raise InputError(
            "RUNS: the groups share no game ("
            + "; ".join(
                f"{group}: {shorten(sorted({run.game for run in members}))}"
                for group, members in sorted(by_group.items())
            )
            + ")"
        )
    if only_games:
        _require("--games", only_games, shared)
        return sorted(set(only_games)), []
    return sorted(shared), sorted(set.union(*played) - shared)


def _end(
    game: str, grid: Mapping[GroupGame, tuple[Run, ...]], at: float | None, axis: Axis
) -> float:
    runs = [run for (_, played), members in grid.items() if played == game for run in members]
    shortest = min(runs, key=lambda run: run.extent)
    end = shortest.extent
    if np.isinf(end):  # All runs stopped at their target score.
        end = max(run.last_step for run in runs)
    if at is not None:
        if at > end:
            raise InputError(
                f"--at={at:g}: must be at most {end:,.0f} {AXIS_UNITS[axis]}, "
                f"where {shortest.source} ends"
            )
        end = at
    latest = max(runs, key=lambda run: run.scores.steps[0])
    if (begin := float(latest.scores.steps[0])) > end * (1.0 + STEP_TOLERANCE):
        raise InputError(
            f"{game}: nothing to compare at {end:,.0f} {AXIS_UNITS[axis]}: the first score of "
            f"{latest.source} is at {begin:,.0f}"
        )
    return end


def _require(argument: str, names: Sequence[str], known: Iterable[str]) -> None:
    known = sorted(known)
    for name in names:
        if name not in known:
            raise InputError(f"{argument}={name}: must be one of {', '.join(known)}")
