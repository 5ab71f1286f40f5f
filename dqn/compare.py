"""``dqn-compare RUNS...``: which optimizer, with which constants, on which game, and why.

Plain arguments rather than Hydra's: what is given are places, any number of them, and there is
nothing to compose or to sweep over.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dqn.comparison.compute.intervals import Inference
from dqn.comparison.compute.results import Comparison, compare
from dqn.comparison.compute.selection import select
from dqn.comparison.read.find import find_runs
from dqn.comparison.run import InputError, canonical_game
from dqn.comparison.show.summaries import aggregate_summary, game_summary
from dqn.comparison.show.table import format_terminal
from dqn.comparison.show.tables import numbers
from dqn.evaluation.atari_scores import SCORE_TABLES, ReferenceScores
from dqn.run_format import EVALUATION_RETURN_MEAN
from dqn.system.arguments import ArgumentParser

PAGE = "index.html"
EXAMPLES = """examples:
  dqn-compare runs/pong                                  # every run below, grouped by optimizer
  dqn-compare runs/pong --axis frames dopamine/pong.json # beside published curves
  dqn-compare runs --group-by optimizer,optimizer.lr     # optimizers at several rates
  dqn-compare ours=runs/a theirs=logs/sb3 --game pong    # TensorBoard logs of other libraries
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, compute, write; bad input is one line and status 2, and nothing is written."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    options = parser.parse_args(given)
    try:
        _check_directory(options.out, overwrite=options.overwrite)
        comparison = _compute(options)
    except InputError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"RUNS={error.filename}: cannot be read ({error.strerror})")
    try:
        _write(comparison, options.out, command=shlex.join([parser.prog, *given]))
    except InputError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--out={options.out}: cannot be written ({error.strerror})")
    for warning in comparison.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    table = aggregate_summary if comparison.aggregates else game_summary
    print(table(comparison).caption)
    print(format_terminal(table(comparison)))
    print(f"\nreport: {options.out / PAGE}")


def _compute(options: argparse.Namespace) -> Comparison:
    runs, scoreless = find_runs(
        options.runs, metric=options.metric, tag=options.tag, game=options.game
    )
    if not runs:
        raise InputError(f"RUNS: none of {len(scoreless)} runs has a value of {options.metric} yet")
    for source in scoreless:
        print(f"warning: {source} has no value of {options.metric} yet", file=sys.stderr)
    selection = select(
        runs,
        group_by=options.group_by,
        only_groups=options.only,
        only_games=options.games,
        axis=options.axis,
        at=options.at,
        skip_unfinished=options.skip_unfinished,
    )
    inference = Inference(
        confidence=options.confidence,
        replicates=options.bootstrap,
        seed=options.seed,
        score_table=options.human_scores,
        references=dict(options.reference),
        target=options.target,
    )
    return compare(selection, inference)


def _check_directory(directory: Path, *, overwrite: bool) -> None:
    if directory.exists() and not directory.is_dir():
        raise InputError(f"--out={directory}: must be a directory")
    if not overwrite and directory.exists() and any(directory.iterdir()):
        raise InputError(
            f"--out={directory}: is not empty; give another directory, or --overwrite to replace "
            "the files of an earlier report"
        )


def _write(comparison: Comparison, directory: Path, *, command: str) -> None:
    try:
        # Matplotlib is an extra, and slow to import.
        from dqn.comparison.show.figures import draw
        from dqn.comparison.show.report import render
    except ImportError as error:
        raise InputError(
            f"matplotlib is missing ({error}): pip install 'rmsprop-dqn[compare]'"
        ) from error
    drawings = draw(comparison)
    page = render(comparison, drawings, command=command)
    figures = directory / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        drawing.save(figures)
    for table in numbers(comparison):
        table.save(directory)
    (directory / PAGE).write_text(page, encoding="utf-8")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="dqn-compare",
        description="Compare runs: learning curves, IQM, profiles, probability of improvement, "
        "effective learning rates by layer, as one HTML page, figures and CSV.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUNS",
        help="directories of runs, or trees of them; TensorBoard logs; curves of Dopamine (.json, "
        ".csv) or DQN Zoo (.csv); NAME=PATH renames a group",
    )
    _add_selection(parser.add_argument_group("what is compared"))
    _add_inference(parser.add_argument_group("how"))
    out = parser.add_argument_group("where to")
    out.add_argument("--out", type=Path, default=Path("comparison"), help="directory (comparison)")
    out.add_argument("--overwrite", action="store_true", help="replace an earlier report in --out")
    return parser


def _add_selection(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--metric", default=EVALUATION_RETURN_MEAN, help="tag of our runs (%(default)s)"
    )
    group.add_argument("--tag", help="tag of other TensorBoard logs (the usual ones are known)")
    group.add_argument("--game", help="game of logs that do not say it")
    group.add_argument(
        "--group-by",
        type=_names,
        default=("optimizer",),
        metavar="KEYS",
        help="optimizer, protocol, variant or dotted keys of config.yaml, with commas (optimizer)",
    )
    group.add_argument(
        "--only", type=_names, default=(), metavar="GROUPS", help="only these groups"
    )
    group.add_argument("--games", type=_names, default=(), metavar="GAMES", help="only these games")
    group.add_argument(
        "--skip-unfinished", action="store_true", help="leave out runs shorter than configured"
    )
    group.add_argument(
        "--at", type=_positive, metavar="N", help="compare at this step, not where all runs end"
    )
    group.add_argument(
        "--axis", choices=("steps", "frames"), default="steps", help="unit of every step (steps)"
    )


def _add_inference(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--human-scores",
        choices=tuple(SCORE_TABLES),
        default="no_op_57",
        help="table that normalises Atari scores (%(default)s)",
    )
    group.add_argument(
        "--reference",
        type=_reference,
        action="append",
        default=[],
        metavar="GAME=LOW,HIGH",
        help="scores that count as 0 and 1 on a game that no table has; repeatable",
    )
    group.add_argument(
        "--target", type=float, metavar="RETURN", help="return whose first reaching is timed"
    )
    group.add_argument(
        "--confidence", type=_share, default=0.95, help="of intervals, between 0 and 1 (0.95)"
    )
    group.add_argument(
        "--bootstrap", type=_count, default=2000, metavar="N", help="bootstrap data sets (2000)"
    )
    group.add_argument("--seed", type=_seed, default=0, help="of the bootstrap (0)")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("must be names separated by commas")
    return names


def _number(text: str, is_allowed: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low < value < high:
        raise argparse.ArgumentTypeError(f"{text!r} must be {is_allowed}")
    return value


def _positive(text: str) -> float:
    return _number(text, "a positive number", 0.0, float("inf"))


def _share(text: str) -> float:
    return _number(text, "between 0 and 1", 0.0, 1.0)


def _count(text: str) -> int:
    return _whole(text, least=100)


def _seed(text: str) -> int:
    return _whole(text, least=0)


def _whole(text: str, *, least: int) -> int:
    if not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least {least}")
    return int(text)


def _reference(text: str) -> tuple[str, ReferenceScores]:
    game, _, scores = text.partition("=")
    try:
        low, high = (float(score) for score in scores.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be GAME=LOW,HIGH") from error
    if not low < high:
        raise argparse.ArgumentTypeError(f"{text!r} must have LOW below HIGH")
    return canonical_game(game), ReferenceScores(low, high)


if __name__ == "__main__":
    main()
