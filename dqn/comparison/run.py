"""A run as a comparison sees it: its curve of scores, its settings, its diagnostics.

Only the readers (``read.our_runs``, ``read.published``) know who wrote a run, where and in what
format. From here on all runs are alike.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from ale_py import roms

from dqn.comparison.statistics import Float64Array
from dqn.evaluation.atari_scores import SCORE_TABLES

# What a run is called after, beside keys of its configuration.
NAMES = ("optimizer", "protocol", "variant")
# A curve of single games is averaged over this many, the training performance of Machado et al.
# 2018.
GAMES_PER_POINT = 100
# A measurement counts as made at a step if it is later by at most this share of the step.
STEP_TOLERANCE = 0.01


class Curve(NamedTuple):
    """Values of one metric along a run.

    Attributes:
        steps: agent steps, strictly increasing.
        values: finite.
    """

    steps: Float64Array
    values: Float64Array

    def at(self, steps: Float64Array) -> Float64Array:
        """Values at other steps: linear between measurements, level beyond both ends."""
        return np.interp(steps, self.steps, self.values)

    def until(self, step: float) -> "Curve":
        """The measurements up to ``step`` and a little beyond; the first where there is none.

        Environments that step side by side put the evaluations of two equal runs a few steps
        apart: at 5,998 and 6,001 where 6,000 was meant.
        """
        num_points = int(np.searchsorted(self.steps, step * (1.0 + STEP_TOLERANCE), side="right"))
        kept = slice(max(num_points, 1))
        return Curve(self.steps[kept], self.values[kept])


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run.

    Attributes:
        source: where it was read, as a person would name it.
        optimizer: name of the optimizer's configuration, or what the source calls its agent.
        game: ALE's snake_case name, or the environment's.
        seed: as the source numbers its runs.
        scores: returns along the run.
        score_kind: ``"evaluation"``, ``"training"`` or ``"unstated"``.
        protocol: how the games were played, as far as the source says.
        frames_per_agent_step: emulator frames per agent step.
        settings: the flattened configuration; empty where it is unknown.
        seconds: training time over agent steps; None where it is unknown.
        diagnostics: other metrics by tag, effective learning rates among them.
        planned_agent_steps: what the run was configured for; None where unknown.
        is_unfinished: whether it is neither as long as planned nor solved.
        is_solved: whether it stopped early because its scores had reached their target.
        has_diverged: whether its loss became infinite or NaN before its end.
        codes: versions of the code that computed it, one after the other; empty where unknown.
    """

    source: str
    optimizer: str
    game: str
    seed: str
    scores: Curve
    score_kind: str
    protocol: str | None = None
    frames_per_agent_step: float = 1.0
    settings: Mapping[str, object] = field(default_factory=dict)
    seconds: Curve | None = None
    diagnostics: Mapping[str, Curve] = field(default_factory=dict)
    planned_agent_steps: int | None = None
    is_unfinished: bool = False
    is_solved: bool = False
    has_diverged: bool = False
    codes: tuple[str, ...] = ()

    @property
    def last_step(self) -> float:
        """Agent steps of the last score."""
        return float(self.scores.steps[-1])

    @property
    def extent(self) -> float:
        """Up to where the run may be compared: a solved one keeps its last score for ever."""
        return float("inf") if self.is_solved else self.last_step

    def setting(self, key: str) -> object:
        """One of ``NAMES`` or a dotted key of the configuration; None where unknown."""
        if key == "optimizer":
            return self.optimizer
        if key == "protocol":
            return self.protocol
        if key == "variant":
            return self.settings.get("choices.variant")
        return self.settings.get(key)


def make_curve(steps: list[float], values: list[float], *, games_per_point: int = 1) -> Curve:
    """A curve of points in order of writing; of several values at one step, the last.

    Args:
        steps: agent steps.
        values: as many; those that are not finite are left out.
        games_per_point: each value becomes the mean of itself and up to so many minus one before.

    >>> make_curve([1, 2, 2, 3], [0.0, 1.0, 3.0, 5.0]).values.tolist()
    [0.0, 3.0, 5.0]
    >>> make_curve([1, 2, 3], [0.0, 2.0, 4.0], games_per_point=2).values.tolist()
    [0.0, 1.0, 3.0]
    """
    x, y = np.asarray(steps, np.float64), np.asarray(values, np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    if games_per_point > 1 and y.size:
        total = np.concatenate([[0.0], np.cumsum(y)])
        end = np.arange(1, y.size + 1)
        begin = np.maximum(end - games_per_point, 0)
        y = (total[end] - total[begin]) / (end - begin)
    is_last = np.append(np.diff(x) > 0, True)[: x.size]
    return Curve(x[is_last], y[is_last])


def is_of_single_games(tag: str) -> bool:
    """Whether a tag holds one game a value rather than a mean over games.

    >>> [is_of_single_games(t) for t in ("episode/return", "charts/episodic_return", "eval/mean")]
    [True, True, False]
    """
    return "episod" in tag


def canonical_game(name: str) -> str:
    """ALE's name of a game that others write ``BankHeistNoFrameskip-v4`` or ``bankheist``.

    >>> canonical_game("BankHeistNoFrameskip-v4"), canonical_game("mspacman")
    ('bank_heist', 'ms_pacman')
    >>> canonical_game("ALE/Pong-v5"), canonical_game("CartPole-v1")
    ('pong', 'cartpole')
    >>> canonical_game("MinAtar/Breakout-v1")  # It is another game than Atari's.
    'minatar_breakout'
    """
    prefix = "minatar_" if name.lower().startswith("minatar/") else ""
    stem = re.sub(r"(NoFrameskip|Deterministic)?-v\d+$", "", name.rsplit("/", 1)[-1])
    squashed = re.sub(r"[^a-z0-9]", "", stem.lower())
    snake = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    return prefix + _games_by_squashed_name().get(squashed, snake)


def is_atari_game(game: str) -> bool:
    """Whether ALE has a game of this canonical name."""
    return game in _games_by_squashed_name().values()


@lru_cache(maxsize=1)
def _games_by_squashed_name() -> dict[str, str]:
    names = set(roms.get_all_rom_ids()).union(*SCORE_TABLES.values())
    return {name.replace("_", ""): name for name in names}


class InputError(ValueError):
    """What cannot be compared: one line that names the argument, its value and what is allowed."""
