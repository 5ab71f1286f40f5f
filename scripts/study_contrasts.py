"""The questions of a study: differences between two settings, paired by game and seed.

    dqn-compare runs/sweep_cartpole --out cc
    python scripts/study_contrasts.py cc rmsprop_misread:rmsprop_misread_matched adam:adam_matched

``A:B`` asks for B - A. All settings share the seeds' networks, exploration and evaluation games, so
runs are compared with the run of the same seed. The interval is that of a bootstrap over pairs
within each game; p is that of Fisher's test, which flips the signs of the differences; Holm's
correction (1979, Scand. J. Statist. 6) counts the questions of one call. With several games, each
counts the same, in standard deviations of all its runs that are compared.
"""

import argparse
import csv
import itertools
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Scores = dict[str, dict[str, dict[str, float]]]
"""Setting -> game -> seed -> score."""

NUM_RESAMPLES = 20_000
# Up to so many pairs all signs are tried, 65,536 of them; beyond, random ones.
MAX_EXACT_PAIRS = 16


def sign_flip_p_value(differences: Floats) -> float:
    """Two-sided p of a mean of differences, under the hypothesis that they are symmetric around 0.

    Fisher 1935, "The Design of Experiments", section 21.

    >>> sign_flip_p_value(np.array([1.0, 2.0, 3.0]))  # + + + and - - - of eight
    0.25
    >>> sign_flip_p_value(np.array([1.0, -1.0]))
    1.0
    """
    if len(differences) <= MAX_EXACT_PAIRS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(differences))))
        num_seen = 0
    else:
        signs = np.random.default_rng(0).choice((1.0, -1.0), (NUM_RESAMPLES, len(differences)))
        num_seen = 1  # The differences as they are belong to those that are counted.
    # Equal up to rounding counts as equal.
    as_large = np.abs(signs @ differences) >= abs(differences.sum()) * (1 - 1e-12)
    return float((as_large.sum() + num_seen) / (len(signs) + num_seen))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, step by step from the smallest.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]  # 3 * 0.01; 2 * 0.03; no less than that
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def read_scores(path: Path, metric: str) -> Scores:
    """The runs of a comparison's ``runs.csv``."""
    scores: Scores = defaultdict(lambda: defaultdict(dict))
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_seed = scores[row["group"]][row["game"]]
            if row["seed"] in by_seed:
                raise ValueError(
                    f"{row['group']} has two runs of {row['game']}, seed {row['seed']}"
                )
            by_seed[row["seed"]] = float(row[metric])
    return scores


def paired_differences(scores: Scores, first: str, second: str) -> dict[str, Floats]:
    """Game -> second - first of every seed that both have played.

    Raises:
        ValueError: a setting is unknown, or no seed is shared.
    """
    for name in (first, second):
        if name not in scores:
            raise ValueError(f"{name!r} is no setting of this comparison: {', '.join(scores)}")
    differences = {}
    for game in scores[first].keys() & scores[second].keys():
        a, b = scores[first][game], scores[second][game]
        if seeds := sorted(a.keys() & b.keys()):
            differences[game] = np.array([b[seed] - a[seed] for seed in seeds])
    if not differences:
        raise ValueError(f"{first} and {second} share no seed of any game")
    return dict(sorted(differences.items()))


def units(scores: Scores) -> dict[str, float]:
    """Game -> what its differences are counted in: 1, or of several the spread of all its runs."""
    by_game: dict[str, list[float]] = defaultdict(list)
    for games in scores.values():
        for game, by_seed in games.items():
            by_game[game] += by_seed.values()
    if len(by_game) == 1:
        return dict.fromkeys(by_game, 1.0)
    return {game: float(np.std(values)) for game, values in by_game.items()}


def interval(by_game: Sequence[Floats]) -> tuple[float, float]:
    """95 % percentile interval of the mean over games of the mean difference."""
    generator = np.random.default_rng(0)
    means = np.zeros(NUM_RESAMPLES)
    for differences in by_game:
        drawn = generator.integers(len(differences), size=(NUM_RESAMPLES, len(differences)))
        means += differences[drawn].mean(axis=1) / len(by_game)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("comparison", type=Path, help="what dqn-compare wrote")
    parser.add_argument("contrasts", nargs="+", metavar="A:B", help="two settings")
    parser.add_argument(
        "--metric",
        default="mean_return_over_training",
        choices=("mean_return_over_training", "final_return"),
    )
    arguments = parser.parse_args()
    try:
        scores = read_scores(arguments.comparison / "runs.csv", arguments.metric)
        asked = []
        for contrast in arguments.contrasts:
            first, colon, second = contrast.partition(":")
            if not colon:
                raise ValueError(f"{contrast!r} must be two settings, A:B")
            asked.append((first, second, paired_differences(scores, first, second)))
    except (OSError, ValueError) as error:
        print(f"study_contrasts: {error}", file=sys.stderr)
        return 1
    scale = units(scores)
    unit = "" if len(scale) == 1 else ", in standard deviations"
    scaled = [[d / scale[game] for game, d in by_game.items()] for _, _, by_game in asked]
    # Every game weighs the same in the test, as in the estimate.
    p_values = [
        sign_flip_p_value(np.concatenate([d / len(d) for d in by_game])) for by_game in scaled
    ]
    print(f"| difference of {arguments.metric}{unit} | pairs | estimate | p | p, Holm |")
    print("|---|---|---|---|---|")
    for (first, second, _), by_game, p, corrected in zip(
        asked, scaled, p_values, holm(p_values), strict=True
    ):
        estimate = float(np.mean([d.mean() for d in by_game]))
        low, high = interval(by_game)
        digits = 0 if max(-low, high) >= 10 else 2
        print(
            f"| `{second}` − `{first}` | {sum(map(len, by_game))} "
            f"| {estimate:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}] "
            f"| {p:.2g} | {corrected:.2g} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
