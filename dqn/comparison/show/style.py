"""Colours and lines of all pictures, those of comparisons and of the studies in ``scripts/``.

It imports no matplotlib: a study that draws nothing does not need it.
"""

from collections.abc import Mapping

# The palette of Okabe & Ito 2008, "Color universal design": distinct to colour-blind readers.
BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
YELLOW, GREY = "#e69f00", "#666666"
# Groups of a comparison: the same idea with more colours, dark enough for text on a white page.
# Dashes tell them apart without colour.
COLOURS = (
    BLUE,
    ORANGE,
    "#00805c",
    "#b0478a",
    "#8a6700",
    "#5d3fb8",
    "#2a8fc7",
    "#9b1c3c",
)
# What a report shows instead of them on a dark page.
DARK_COLOURS = (
    "#5bb4f0",
    "#ff8f4d",
    "#2fcf9f",
    "#f09ccc",
    "#e0bd45",
    "#b3a1ff",
    "#93d2f7",
    "#ff8098",
)
DASHES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1.5, 1)), (0, (8, 1.5, 1, 1, 1, 1.5)))
INK = "#1b1f24"
FAINT = "#c3cad2"

# Settings of matplotlib: those that all pictures share, then those of each kind.
_SHARED: Mapping[str, object] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "legend.frameon": False,
}
COMPARISON_STYLE: Mapping[str, object] = {
    **_SHARED,
    "svg.hashsalt": "rmsprop-dqn",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
STUDY_STYLE: Mapping[str, object] = {
    **_SHARED,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.titlesize": 13,
    "font.size": 10,
    "grid.alpha": 0.25,
    "lines.linewidth": 2.0,
}
