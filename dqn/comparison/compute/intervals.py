"""How a comparison turns runs into numbers: normalisation and intervals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dqn.comparison.statistics import Float64Array, GameScores, Interval, bootstrap_interval
from dqn.evaluation.atari_scores import SCORE_TABLES, ReferenceScores, ScoreTableName

Statistic: TypeAlias = Callable[[GameScores], Float64Array]


@dataclass(frozen=True, kw_only=True)
class Inference:
    """How the numbers of a comparison are computed.

    Attributes:
        confidence: nominal coverage of intervals.
        replicates: bootstrap data sets.
        seed: of the bootstrap.
        score_table: which table of human scores normalises Atari games.
        references: for games in no table, the scores that count as 0 and as 1.
        target: the return whose first reaching is timed; None derives one for each game.
    """

    confidence: float = 0.95
    replicates: int = 2000
    seed: int = 0
    score_table: ScoreTableName = "no_op_57"
    references: Mapping[str, ReferenceScores] | None = None
    target: float | None = None

    def interval(self, statistic: Callable[..., Float64Array], *samples: GameScores) -> Interval:
        """A statistic with its stratified bootstrap interval."""
        return bootstrap_interval(
            statistic,
            *samples,
            confidence=self.confidence,
            replicates=self.replicates,
            seed=self.seed,
        )

    def reference(self, game: str) -> ReferenceScores | None:
        """The scores that count as 0 and as 1 on a game; None where nobody has said."""
        return (self.references or {}).get(game) or SCORE_TABLES[self.score_table].get(game)


def normalise(scores: Float64Array, reference: ReferenceScores | None) -> Float64Array:
    """``(score - random) / (human - random)``; unchanged without a reference."""
    if reference is None:
        return scores
    return (scores - reference.random) / (reference.human - reference.random)
