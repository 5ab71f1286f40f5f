"""What all figures share: their look, their panels, and how they are saved."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from dqn.comparison.compute.bands import Band
from dqn.comparison.show.style import COLOURS, COMPARISON_STYLE, DASHES
from dqn.comparison.statistics import Interval

MAX_PANELS_WITH_IQM = 4
# More bands than there are colours would cover one another.
MAX_GROUPS_WITH_BANDS = len(COLOURS)


@dataclass(frozen=True)
class Drawing:
    """A figure with its heading, its caption, and words for those who cannot see it.

    Attributes:
        name: of its files.
        title: heading.
        caption: what is drawn and how to read it.
        description: what it shows, in words, for those who cannot see it.
        figure: drawn.
    """

    name: str
    title: str
    caption: str
    description: str
    figure: Figure

    def svg(self, *, text_as_paths: bool) -> str:
        """The figure as SVG; text as paths looks the same everywhere, text as text can be read."""
        buffer = io.StringIO()
        style = {**COMPARISON_STYLE, "svg.fonttype": "path" if text_as_paths else "none"}
        with matplotlib.rc_context(style):  # type: ignore[arg-type]
            self.figure.savefig(
                buffer,
                format="svg",
                facecolor="white" if text_as_paths else "none",
                metadata={"Date": None, "Creator": None},
            )
        return buffer.getvalue()

    def save(self, directory: Path) -> None:
        """``<name>.png`` and ``<name>.svg``."""
        with matplotlib.rc_context(COMPARISON_STYLE):  # type: ignore[arg-type]
            self.figure.savefig(
                directory / f"{self.name}.png",
                dpi=200,
                facecolor="white",
                metadata={"Software": None},
            )
        (directory / f"{self.name}.svg").write_text(self.svg(text_as_paths=True), encoding="utf-8")


class GroupStyle:
    """Colour and dashes of each group, the same in all figures."""

    def __init__(self, groups: Sequence[str]) -> None:
        self._index = {group: index for index, group in enumerate(groups)}
        self._has_bands = len(groups) <= MAX_GROUPS_WITH_BANDS

    def colour(self, group: str) -> str:
        return COLOURS[self._index[group] % len(COLOURS)]

    def dashes(self, group: str) -> object:
        return DASHES[self._index[group] % len(DASHES)]

    def line(self, axes: Axes, group: str, x: Any, y: Any, **kwargs: Any) -> None:
        axes.plot(
            x,
            y,
            color=self.colour(group),
            linestyle=self.dashes(group),
            label=literal(group),
            **kwargs,
        )

    def band(self, axes: Axes, group: str, band: Band) -> None:
        self.line(axes, group, band.x, band.interval.estimate)
        self.fill(axes, group, band.x, band.interval.low, band.interval.high)

    def fill(self, axes: Axes, group: str, x: Any, low: Any, high: Any) -> None:
        if self._has_bands:
            axes.fill_between(x, low, high, color=self.colour(group), alpha=0.16, linewidth=0)

    @property
    def note(self) -> str:
        """What a caption must add where no bands are drawn."""
        if self._has_bands:
            return ""
        return (
            f" More than {MAX_GROUPS_WITH_BANDS} groups have no bands drawn, which would hide one "
            "another; --only compares fewer."
        )


def literal(text: str) -> str:
    """A name as matplotlib must be given it: a ``$`` would begin a formula.

    >>> literal("lr=$1")
    'lr=\\\\$1'
    """
    return text.replace("$", r"\$")


def legend(figure: Figure, axes: Axes) -> None:
    """One legend for all panels, below them, as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    longest = max((len(label) for label in labels), default=1)
    columns = int(np.clip(0.5 + figure.get_figwidth() * 13 / (longest + 8), 1, len(labels) or 1))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=3.2)


def new_panels(
    count: int, columns: int, *, width: float = 3.6, height: float = 2.7
) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(width * columns, 5.5), height * rows + 0.5), layout="constrained")
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(count)]
    return figure, axes


def axis_of_steps(axes: Axes, unit: str) -> None:
    axes.set_xlabel(unit)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5))


def interval_rows(axes: Axes, intervals: Mapping[str, Interval], colours: Sequence[str]) -> None:
    """Estimates with their intervals, one row each, the first on top."""
    for row, (interval, colour) in enumerate(zip(intervals.values(), colours, strict=True)):
        estimate, low, high = (float(value) for value in interval)
        axes.plot([low, high], [row, row], color=colour, linewidth=5, alpha=0.35)
        axes.plot([estimate], [row], marker="o", color=colour, markersize=6)
    axes.set_yticks(range(len(intervals)), [literal(name) for name in intervals])
    axes.set_ylim(len(intervals) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y", visible=False)
