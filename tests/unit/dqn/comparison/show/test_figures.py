"""Figures of a comparison: what is drawn on them, and what is left out."""

import pytest
from helpers.written_runs import make_run

from dqn.comparison.compute.intervals import Inference
from dqn.comparison.compute.results import compare
from dqn.comparison.compute.selection import select


@pytest.mark.parametrize(("num_groups", "num_bands"), [(8, 8), (9, 0)])
def test_bands_are_drawn_while_they_can_be_told_apart(num_groups, num_bands):
    pytest.importorskip("matplotlib", reason="needs rmsprop-dqn[compare]")
    from matplotlib.collections import FillBetweenPolyCollection

    from dqn.comparison.show.figures import draw

    runs = [make_run(f"group{g}", seed=s) for g in range(num_groups) for s in range(1, 6)]
    (drawing,) = [
        d
        for d in draw(compare(select(runs), Inference(replicates=200)))
        if d.name == "learning_curves"
    ]
    axes = drawing.figure.axes[0]
    bands = [c for c in axes.collections if isinstance(c, FillBetweenPolyCollection)]
    assert len(bands) == num_bands
    assert len(axes.lines) == num_groups
    assert ("--only" in drawing.caption) == (num_bands == 0)
