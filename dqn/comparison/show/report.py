"""The page of a comparison: one HTML file that needs nothing else, not even a network."""

import html
import re
from collections.abc import Iterable, Sequence

from dqn.comparison.compute.results import Comparison
from dqn.comparison.compute.selection import AXIS_UNITS
from dqn.comparison.run import STEP_TOLERANCE
from dqn.comparison.show.drawing import Drawing
from dqn.comparison.show.style import COLOURS, DARK_COLOURS, FAINT, INK
from dqn.comparison.show.summaries import (
    aggregate_summary,
    common_settings,
    different_settings,
    game_summary,
    groups,
    improvement_summary,
    layers_at_end,
    sample_efficiency,
)
from dqn.comparison.show.table import Table, format_cell
from dqn.comparison.show.wording import describe_target, percent, score_unit

# The page fetches and runs nothing. Its styles are in itself and in the figures' attributes.
CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
MAX_OPEN_ROWS = 24
SOURCES = (
    "Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice, "
    "arXiv 2108.13264: IQM, optimality gap, performance profiles, probability of improvement, "
    "stratified bootstrap.",
    "Human scores: Mnih et al. 2015, Extended Data Table 2 (nature_49); google-deepmind/dqn_zoo, "
    "atari_data.py (no_op_57). The two tables must not be mixed.",
)
_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: %(ink)s; --soft: #545e69;
  --faint: %(faint)s; --panel: #f5f7f9; --warn: #8a4b00; --warn-bg: #fff6e5; --link: #0a5aa8;
%(light)s }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --ink: #e7ebef; --soft: #a9b3be;
  --faint: #3b444e; --panel: #1c2228; --warn: #ffc46b; --warn-bg: #2b2211; --link: #7fc0ff;
%(dark)s } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
header, main, footer { max-width: 66rem; margin: 0 auto; padding: 0 1.5rem }
header { padding-top: 2.5rem } footer { padding-bottom: 4rem; color: var(--soft) }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; text-wrap: balance }
h2 { font-size: 1.3rem; margin: 3rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid var(--faint) }
h3 { font-size: 1.05rem; margin: 2rem 0 .4rem }
p { max-width: 44rem; margin: .5rem 0 } .lede { font-size: 1.05rem; color: var(--soft) }
a { color: var(--link) } :focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
.skip { position: absolute; left: -99rem } .skip:focus { left: 1rem; top: .5rem;
  background: var(--page); padding: .5rem 1rem; z-index: 1 }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; margin: 1rem 0;
  list-style: none; font-size: .95rem }
footer code { white-space: normal; overflow-wrap: anywhere }
.warnings { background: var(--warn-bg); border-left: 4px solid var(--warn);
  padding: .9rem 1.3rem; margin: 1.5rem 0; border-radius: 0 6px 6px 0 }
.warnings h2 { border: 0; margin: 0; padding: 0; font-size: 1.05rem; color: var(--warn) }
.warnings ul { margin: .4rem 0 0; padding-left: 1.2rem } .warnings li { margin: .35rem 0 }
figure { margin: 1rem 0 1.5rem } figure svg { display: block; width: 100%%; height: auto }
figcaption { color: var(--soft); font-size: .92rem; max-width: 44rem; margin-top: .4rem }
.scroll { overflow-x: auto; margin: .8rem 0; border: 1px solid var(--faint); border-radius: 6px }
table { border-collapse: collapse; width: 100%%; font-size: .9rem;
  font-variant-numeric: tabular-nums }
caption { text-align: left; padding: .6rem .8rem; color: var(--soft); font-size: .92rem }
th, td { padding: .42rem .8rem; text-align: right; white-space: nowrap; vertical-align: top;
  border-top: 1px solid var(--faint) }
thead th { background: var(--panel); font-weight: 600 }
th[scope=row], .text { text-align: left } td.text { white-space: normal; min-width: 7rem }
th[scope=row] { font-weight: 600 }
details { margin: .6rem 0 } summary { cursor: pointer; color: var(--link) }
code { white-space: nowrap; font: .92em ui-monospace, "DejaVu Sans Mono", monospace }
@media print { .skip, nav { display: none } details { display: block } h2 { break-after: avoid }
  figure { break-inside: avoid } }
"""


def render(comparison: Comparison, drawings: Sequence[Drawing], *, command: str) -> str:
    """The page.

    Args:
        comparison: its numbers.
        drawings: its figures.
        command: what makes it again.
    """
    by_name = {drawing.name: drawing for drawing in drawings}
    sections = [*_sections(comparison, by_name)]
    title = f"Comparison of {_count(len(comparison.selection.groups), 'group')} of runs"
    contents = "".join(f'<li><a href="#{key}">{_text(name)}</a></li>' for key, name, _ in sections)
    body = "".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}" tabindex="-1">{_text(name)}</h2>{content}'
        "</section>"
        for key, name, content in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_stylesheet()}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#content">Skip to the numbers</a>\n'
        f'<header><h1>{_text(title)}</h1><p class="lede">{_text(_lede(comparison))}</p>'
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav></header>\n'
        f'<main id="content" tabindex="-1">{_warnings(comparison.warnings)}{body}</main>\n'
        f"<footer>{_method(comparison, command)}</footer>\n</body>\n</html>\n"
    )


def _sections(
    comparison: Comparison, drawings: dict[str, Drawing]
) -> Iterable[tuple[str, str, str]]:
    """Key, heading and content of each section that there are numbers for."""

    def figures(*names: str) -> str:
        return "".join(_figure(drawings[name]) for name in names if name in drawings)

    yield "scores", "Scores", _scores(comparison, figures("aggregates"))
    yield "curves", "Learning curves", figures("learning_curves", "aggregate_curves")
    if "profiles" in drawings:
        yield "profiles", "Performance profiles", figures("profiles")
    if "improvement" in drawings:
        yield (
            "improvement",
            "Probability of improvement",
            figures("improvement")
            + _folded("Every pair, in numbers", _table(improvement_summary(comparison))),
        )
    if comparison.targets:
        yield (
            "efficiency",
            "Sample efficiency",
            figures("sample_efficiency")
            + _folded("Steps to the target, in numbers", _table(sample_efficiency(comparison))),
        )
    if "wall_clock" in drawings:
        yield "time", "Wall clock", figures("wall_clock")
    layers = "".join(
        figures(f"effective_learning_rates_{game}")
        + _folded(f"At the end, in numbers: {game}", _table(layers_at_end(comparison, game)))
        for game in comparison.selection.games
        if comparison.layers[game]
    )
    if layers:
        yield "why", "Why: effective learning rates by layer", layers
    yield "compared", "What was compared", _compared(comparison)


def _scores(comparison: Comparison, aggregate_figure: str) -> str:
    aggregates = _table(aggregate_summary(comparison)) if comparison.aggregates else ""
    summary = game_summary(comparison)
    by_game = _table(summary)
    if len(summary.rows) > MAX_OPEN_ROWS:
        by_game = _folded("Final returns, game by game", by_game)
    return aggregates + aggregate_figure + by_game


def _compared(comparison: Comparison) -> str:
    parts = [_table(groups(comparison))]
    differing, common = different_settings(comparison), common_settings(comparison)
    if differing.rows:
        parts.append(_table(differing))
    if common.rows:
        parts.append(_folded(f"{len(common.rows)} settings that all share", _table(common)))
    return "".join(parts)


def _lede(comparison: Comparison) -> str:
    selection = comparison.selection
    ends = sorted(set(selection.ends.values()))
    span = f"{ends[0]:,.0f}" + (f" to {ends[-1]:,.0f}" if len(ends) > 1 else "")
    games = ", ".join(selection.games[:6])
    more = f" and {len(selection.games) - 6} more" if len(selection.games) > 6 else ""
    return (
        f"{_count(len(selection.all_runs), 'run')} on {games}{more}, compared at {span} "
        f"{AXIS_UNITS[selection.axis]}."
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    # Code is not wrapped, so that a line never breaks after the dashes of an option.
    items = "".join(
        re.sub(r"(--[a-z-]+)", r"<code>\1</code>", f"<li>{_text(warning)}</li>")
        for warning in warnings
    )
    return (
        '<section class="warnings" aria-labelledby="first"><h2 id="first">Read this first</h2>'
        f"<ul>{items}</ul></section>"
    )


def _method(comparison: Comparison, command: str) -> str:
    inference = comparison.inference
    human = f" Human scores: table {inference.score_table}." if comparison.is_normalised else ""
    sources = "".join(f"<li>{_text(source)}</li>" for source in SOURCES)
    return (
        '<section aria-labelledby="method"><h2 id="method">How the numbers are made</h2><p>'
        + _text(
            "A run's score is its last value up to the step where all runs of the game end (or at "
            f"most {STEP_TOLERANCE:.0%} after it). "
            f"Aggregates are of the {score_unit(comparison)}.{human} Intervals are "
            f"{percent(comparison)} percentile intervals of {inference.replicates:,} bootstrap "
            f"data sets (seed {inference.seed}) that resample runs within each game. "
            + describe_target(comparison)
        )
        + f"</p><p>Made by <code>{_text(command)}</code>; every number is in the CSV files beside "
        f"this page.</p><ul>{sources}</ul></section>"
    )


def _figure(drawing: Drawing) -> str:
    return (
        f"<figure>{inline_svg(drawing)}<figcaption>{_text(drawing.caption)}</figcaption></figure>"
    )


def inline_svg(drawing: Drawing) -> str:
    """A figure as part of a page: colours follow the page's, ids are its own, text is text."""
    svg = drawing.svg(text_as_paths=False)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    key = drawing.name
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{key}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", svg)
    for index, colour in enumerate(COLOURS):
        svg = svg.replace(colour, f"var(--c{index})")
    svg = svg.replace(INK, "var(--ink)").replace(FAINT, "var(--faint)")
    size = re.search(r'viewBox="([^"]+)"', svg)
    assert size is not None  # matplotlib writes one.
    content = svg[svg.index(">") + 1 :]
    width = float(size[1].split()[2])
    return (
        f'<svg viewBox="{size[1]}" style="max-width: {width * 1.45:.0f}px" role="img" '
        f'aria-labelledby="{key}-title {key}-desc"><title id="{key}-title">{_text(drawing.title)}'
        f'</title><desc id="{key}-desc">{_text(drawing.description)}</desc>{content}'
    )


def _table(table: Table) -> str:
    key = f"table-{table.name}"
    is_text = [
        all(isinstance(row[column], str) and not _is_number_like(row[column]) for row in table.rows)
        for column in range(len(table.columns))
    ]
    head = "".join(
        f'<th scope="col"{" class=text" if text else ""}>{_text(column)}</th>'
        for column, text in zip(table.columns, is_text, strict=True)
    )
    rows = "".join(
        "<tr>"
        + f'<th scope="row">{_text(format_cell(row[0]))}</th>'
        + "".join(
            f"<td{' class=text' if text else ''}>{_text(format_cell(cell))}</td>"
            for cell, text in zip(row[1:], is_text[1:], strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{key}"><table>'
        f'<caption id="{key}">{_text(table.caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _is_number_like(cell: object) -> bool:
    return isinstance(cell, str) and bool(re.match(r"^-?[\d–]|^never", cell))


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{_text(summary)}</summary>{content}</details>"


def _stylesheet() -> str:
    def variables(colours: Sequence[str]) -> str:
        return " ".join(f"--c{index}: {colour};" for index, colour in enumerate(colours))

    return _STYLE % {
        "ink": INK,
        "faint": FAINT,
        "light": variables(COLOURS),
        "dark": variables(DARK_COLOURS),
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
