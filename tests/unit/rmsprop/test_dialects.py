"""The tables of dialects in the documentation against rmsprop.dialects."""

import re
import sys
from pathlib import Path

import pytest

from rmsprop import dialects

PAGE = Path(__file__).parents[3] / "docs" / "optimizer.md"


def row_of(name):
    """The line of docs/optimizer.md for a dialect, as it ought to be."""
    options = dialects[name]
    buffer = "lr inside" if options["lr_in_momentum"] else "lr outside"
    cells = [
        f"`{name}`",
        f"{options['lr']:g}" if "lr" in options else "required",
        f"{options['alpha']:g}",
        f"{options['eps']:.3g}",
        "√(q + ε)" if options["eps_inside_sqrt"] else "√q + ε",
        f"{options['initial_square_avg']:g}",
        "yes" if options["centered"] else "no",
        f"{options['momentum']:g}, {buffer}",
        "decoupled" if options["decoupled_weight_decay"] else "coupled",
    ]
    return f"| {' | '.join(cells)} |"


def test_page_has_a_row_for_every_dialect_with_the_values_it_has():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    named = [row for row in rows if row.split("`")[1] in dialects]
    assert named == [row_of(name) for name in dialects]


def test_table_in_the_docstring_has_the_values_of_every_dialect():
    # The package's attribute of that name is the mapping, not the module.
    lines = sys.modules["rmsprop.dialects"].__doc__.splitlines()
    top, middle, bottom = (i for i, line in enumerate(lines) if line.startswith("===="))
    columns = [match.span() for match in re.finditer("=+", lines[top])][:5]
    rows = {}
    for line in lines[middle + 1 : bottom]:
        name, *cells = (line[slice(*column)].strip() for column in columns)
        rows[name] = cells
    assert list(rows) == list(dialects)
    for name, (denominator, eps, initial, centred) in rows.items():
        options = dialects[name]
        assert denominator.startswith("√(q") == options["eps_inside_sqrt"], name
        value = {"none": 0.0, "0.01 / 32²": 0.01 / 32**2}.get(eps)
        assert options["eps"] == pytest.approx(float(eps) if value is None else value), name
        assert options["initial_square_avg"] == float(initial), name
        assert options["centered"] == (centred == "always"), name
