"""The page of ``dqn-compare`` in a real browser, light and dark."""

import numpy as np
import pytest
from helpers.chromium import look, needs_chromium, read
from helpers.written_runs import write_tree

from dqn.compare import main
from dqn.comparison.show.style import COLOURS, DARK_COLOURS

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    write_tree(
        root / "runs",
        {"adam": {"pong": [-3, 5, 8, 9, 11]}, "sgd": {"pong": [-21, -20, -19, -4, 12]}},
    )
    main([str(root / "runs"), "--out", str(root / "out"), "--bootstrap", "100"])
    return (root / "out" / "index.html").as_uri()


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def count(pixels, colour):
    return int((pixels == rgb(colour)).all(axis=-1).sum())


@pytest.mark.parametrize("dark", [False, True])
def test_page_follows_the_scheme_and_breaks_no_rule_of_its_own(url, tmp_path, dark):
    view = look(url, tmp_path, dark=dark)
    shown, hidden = (DARK_COLOURS, COLOURS) if dark else (COLOURS, DARK_COLOURS)
    page = "#14181d" if dark else "#ffffff"
    assert count(view.pixels, page) > 0.5 * view.pixels[..., 0].size
    # The figures are drawn in the scheme's colours: at least the dots of two groups.
    for index in (0, 1):
        assert count(view.pixels, shown[index]) > 50
        assert count(view.pixels, hidden[index]) == 0
    # A style, image or script that the page's policy forbids would be reported here.
    assert view.console == []


def test_page_fits_a_narrow_window(url, tmp_path):
    # 600 pixels, half a screen: what is wider than the window scrolls in its own frame.
    pixels = look(url, tmp_path, size=(600, 3000)).pixels
    edge = pixels[:, -12:]
    assert (edge == 255).all(axis=-1).mean() > 0.97


def test_document_holds_headings_tables_and_drawings(url, tmp_path):
    document = read(url, tmp_path)
    for text in ("Learning curves", "Probability of improvement", "Human-normalised score"):
        assert text in document
    assert document.count("<figure") == document.count('role="img"') >= 6
