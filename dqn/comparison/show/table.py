"""A table: rows under named columns, as CSV, as text for people, and for a terminal."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dqn.comparison.statistics import Interval

Cell = str | float | int | bool | None


@dataclass(frozen=True)
class Table:
    """Rows under named columns.

    Attributes:
        name: of its CSV file.
        caption: what the rows are.
        columns: headers.
        rows: cells, None where there is nothing to say.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]

    def save(self, directory: Path) -> None:
        """``<name>.csv``, numbers to their last digit."""
        with (directory / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows(self.rows)


def format_cell(cell: Cell, *, digits: int = 4) -> str:
    """A cell for people: few digits, thousands apart, words for what is no number.

    >>> [format_cell(c) for c in (0.123456, 6543.2, 12, float("inf"), None, True)]
    ['0.1235', '6,543', '12', 'never', '–', 'yes']
    >>> format_cell(2.5e-4)
    '0.00025'
    """
    if cell is None or cell == "":
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, str):
        return cell
    if np.isnan(cell):
        return "–"
    if np.isinf(cell):
        return "never"
    return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.{digits}g}"


def format_interval(interval: Interval) -> str:
    """``estimate [low, high]``, three digits each: no interval of few runs deserves more.

    >>> format_interval(Interval(np.float64(0.75432), np.float64(0.7), np.float64(0.8001)))
    '0.754 [0.7, 0.8]'
    """
    estimate, low, high = (format_cell(float(value), digits=3) for value in interval)
    return f"{estimate} [{low}, {high}]"


def interval_cells(interval: Interval) -> tuple[float, float, float]:
    """Estimate, low and high as cells."""
    return float(interval.estimate), float(interval.low), float(interval.high)


def format_terminal(table: Table) -> str:
    """A table in fixed columns for a terminal."""
    cells = [list(table.columns), *([format_cell(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.columns))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join(line.rstrip() for line in (lines[0], rule, *lines[1:]))
