"""What the studies share: arguments, tables, CSV files, and one style for all pictures."""

from __future__ import annotations

import argparse
import csv
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dqn.comparison.show.style import BLUE, GREEN, ORANGE, PINK, STUDY_STYLE
from dqn.system.arguments import ArgumentParser

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, int | float | str]
"""One line of a table: name of the column -> value."""

# Where optimizers are compared, each has the same colour in every picture.
COLOURS = {"RMSprop": BLUE, "SGD": ORANGE, "Adagrad": GREEN, "Adam": PINK}


def parse_arguments(
    description: str, *, seeds: Sequence[int] | None = None, argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """``out`` (a folder that exists, or None) and, for a random study, ``seeds``.

    Args:
        description: the study's docstring; ``--help`` shows it.
        seeds: the default seeds; None for a study without chance, which has no ``--seeds``.
        argv: the arguments, by default those of the process.

    Anything wrong ends the process with status 2 and one line. Sets torch to one thread: on tensors
    this small more only wait, and with one the numbers do not depend on the number of cores.
    """
    torch.set_num_threads(1)
    parser = ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=_folder,
        metavar="DIR",
        help="write the picture (PNG) and everything it shows (CSV) to this folder",
    )
    if seeds is not None:
        parser.add_argument(
            "--seeds",
            type=_seed,
            nargs="+",
            default=list(seeds),
            metavar="SEED",
            help=f"seeds to repeat with (default: {' '.join(map(str, seeds))})",
        )
    arguments = parser.parse_args(argv)
    if seeds is not None and len(set(arguments.seeds)) < len(arguments.seeds):
        parser.error(f"--seeds must differ from one another, got {arguments.seeds}")
    if arguments.out is not None and importlib.util.find_spec("matplotlib") is None:
        parser.error("--out draws with matplotlib: pip install 'rmsprop-dqn[studies]'")
    return arguments


def publish(
    out: Path | None,
    name: str,
    table: Sequence[Row],
    data: Sequence[Row],
    draw: Callable[[], Figure],
) -> None:
    """Print ``table``; with a folder, write ``data`` to name.csv and the picture to name.png."""
    print_table(table)
    if out is None:
        return
    write_csv(out / f"{name}.csv", data)
    with picture_style():
        # Without the version of matplotlib in it, the same numbers give the same file.
        draw().savefig(out / f"{name}.png", dpi=150, metadata={"Software": None})
    print(f"\nwrote {out / name}.png and {out / name}.csv")


def print_table(rows: Sequence[Row]) -> None:
    """Print rows below the names of their columns, numbers to four digits, right-aligned."""
    lines = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = [isinstance(value, str) for value in rows[0].values()]
    for line in lines:
        cells = zip(line, widths, left, strict=True)
        print("  ".join(c.ljust(w) if is_left else c.rjust(w) for c, w, is_left in cells).rstrip())


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows with a header, floats to seven digits: enough to draw the picture again."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow(f"{v:.7g}" if isinstance(v, float) else v for v in row.values())


@contextmanager
def picture_style() -> Iterator[None]:
    """Every picture is drawn inside: fonts, grid, no box."""
    import matplotlib as mpl

    with mpl.rc_context(STUDY_STYLE):
        yield


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure of ``width`` × ``height`` inches, title on top, that fits its labels."""
    # Not pyplot: it keeps figures in a global, and looks for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _folder(text: str) -> Path:
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise argparse.ArgumentTypeError(f"cannot write to folder {text!r}: {reason}") from error
    return path


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 on, got {text!r}")
    return int(text)


def _text(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
