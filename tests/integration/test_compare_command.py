"""``dqn-compare`` from the command line: its files against ``metrics.jsonl``, its refusals."""

import csv
import html.parser
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.written_runs import LAYER, write_run, write_tree

from dqn.compare import main
from dqn.comparison.show.report import CONTENT_SECURITY_POLICY
from dqn.evaluation.atari_scores import human_normalised_score

SCORES = {
    "adam": {"pong": [-3, 5, 8, 9, 11, 14], "breakout": [20, 30, 40, 60, 80, 100]},
    "sgd": {"pong": [-21, -20, -19, -4, 0, 12], "breakout": [1, 2, 3, 8, 9, 200]},
    "rmsprop_deepmind": {"pong": [1, 2, 3, 4, 5, 6], "breakout": [10, 11, 12, 13, 14, 15]},
}
TABLES = {
    "aggregates",
    "curves",
    "effective_learning_rates",
    "games",
    "improvement",
    "profiles",
    "runs",
    "sample_efficiency",
    "settings",
    "wall_clock",
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A tree of runs and the report on it, made once by the real command."""
    root = tmp_path_factory.mktemp("compare")
    write_tree(root / "runs", SCORES)
    result = command("runs", "--out", "out", "--bootstrap", "500", cwd=root)
    assert result.returncode == 0, result.stderr
    return root, result


def command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "dqn.compare", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
    )


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def recomputed(runs_dir):
    """Final scores and mean returns over training from the files alone: no code of ours."""
    finals, areas = {}, {}
    for path in sorted(runs_dir.rglob("metrics.jsonl")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        points = [(x["step"], x["eval/return_mean"]) for x in lines if "eval/return_mean" in x]
        key = (path.parent.parent.name, config["env"]["game"])
        finals.setdefault(key, []).append(points[-1][1])
        trapezoids = sum(
            (x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in itertools.pairwise(points)
        )
        areas.setdefault(key, []).append(trapezoids / (points[-1][0] - points[0][0]))
    return finals, areas


def test_it_writes_a_page_every_figure_twice_and_every_number(report):
    root, result = report
    out = root / "out"
    assert {path.stem for path in out.glob("*.csv")} == TABLES
    pngs, svgs = ({p.stem for p in (out / "figures").glob(f"*.{e}")} for e in ("png", "svg"))
    assert pngs == svgs
    assert {"learning_curves", "aggregates", "profiles", "improvement", "wall_clock"} < pngs
    assert "effective_learning_rates_pong" in pngs
    assert "report: out/index.html" in result.stdout
    assert result.stderr == ""  # Six seeds, one protocol, all finished: nothing to warn of.


def test_numbers_agree_with_a_recomputation_from_metrics_jsonl(report):
    root, _ = report
    finals, areas = recomputed(root / "runs")
    written = rows(root / "out" / "runs.csv")
    assert len(written) == 3 * 2 * 6
    for key, scores in finals.items():
        mine = [row for row in written if (row["group"], row["game"]) == key]
        assert [float(row["final_return"]) for row in mine] == scores
        np.testing.assert_allclose(
            [float(row["mean_return_over_training"]) for row in mine], areas[key]
        )
    by_name = {
        (row["statistic"], row["group"]): float(row["estimate"])
        for row in rows(root / "out" / "aggregates.csv")
    }
    for group in SCORES:
        normalised = {
            game: [
                human_normalised_score(game, score, table="no_op_57")
                for score in finals[group, game]
            ]
            for game in ("breakout", "pong")
        }
        pooled = sorted(score for scores in normalised.values() for score in scores)
        assert by_name["IQM", group] == pytest.approx(sum(pooled[3:-3]) / 6)
        assert by_name["mean", group] == pytest.approx(
            np.mean([np.mean(scores) for scores in normalised.values()])
        )


def test_page_and_terminal_show_the_numbers_of_the_files(report):
    root, result = report
    page = (root / "out" / "index.html").read_text(encoding="utf-8")
    for row in rows(root / "out" / "aggregates.csv"):
        shown = "{} [{}, {}]".format(*(f"{float(row[c]):.3g}" for c in ("estimate", "low", "high")))
        assert shown in page
        assert shown in result.stdout


def test_effective_learning_rates_by_layer_are_those_of_the_runs(report):
    root, _ = report
    written = rows(root / "out" / "effective_learning_rates.csv")
    medians = {float(row["median"]) for row in written if row["tag"] == f"effective_lr/{LAYER}/p95"}
    assert medians == {2e-3}  # write_run's rate, doubled.
    assert {row["tag"] for row in written} == {
        f"effective_lr/{LAYER}/p05",
        f"effective_lr/{LAYER}/p50",
        f"effective_lr/{LAYER}/p95",
        f"effective_lr_eps_bound/{LAYER}",
        f"update_ratio/{LAYER}",
    }


class Page(html.parser.HTMLParser):
    """What a browser or a screen reader would find in a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.references, self.headings = [], [], [], []
        self.labels, self.open = {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.references += attributes.get("aria-labelledby", "").split()
        self.open.append((tag, attributes))

    def handle_data(self, data):
        if self.open:
            tag, attributes = self.open[-1]
            if re.fullmatch("h[1-6]", tag):
                self.headings.append((int(tag[1]), data))
            if "id" in attributes:
                self.labels[attributes["id"]] = data

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def page(report):
    return Page((report[0] / "out" / "index.html").read_text(encoding="utf-8"))


def test_page_needs_nothing_from_elsewhere(report, page):
    text = (report[0] / "out" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]", text)
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("img")
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy == CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in policy
    # References are to ids of the page itself.
    targets = [a["href"] for a in page.all("a")] + [u["xlink:href"] for u in page.all("use")]
    targets += re.findall(r"url\(([^)]*)\)", text)
    assert targets
    assert all(target.startswith("#") and target[1:] in page.ids for target in targets)


def test_page_can_be_read_without_seeing_it(page):
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.ids) == len(set(page.ids))
    assert set(page.references) <= set(page.ids)
    # Every figure is an image with a name and a description that has numbers in it.
    drawings = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(drawings) == len(page.all("figure")) >= 8
    for svg in drawings:
        title, description = svg["aria-labelledby"].split()
        assert page.labels[title].strip()
        assert re.search(r"\d", page.labels[description])
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(th["scope"] in ("col", "row") for th in page.all("th"))
    # What scrolls can be reached and scrolled by the keyboard.
    regions = [div for div in page.all("div") if div.get("role") == "region"]
    assert len(regions) == len(page.all("table"))
    assert all(region["tabindex"] == "0" for region in regions)
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_page_has_a_dark_scheme_whose_colours_all_exist(report):
    text = (report[0] / "out" / "index.html").read_text(encoding="utf-8")
    assert "@media (prefers-color-scheme: dark)" in text
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", text))
    light, dark = text.split("@media (prefers-color-scheme: dark)", maxsplit=1)
    for block in (light, dark[: dark.index("* {")]):
        assert used <= set(re.findall(r"(--[a-z0-9-]+):", block))
    # Figures bring no colour of their own that a dark page would swallow.
    drawn = text[text.index("<main") :]
    assert not re.findall(r"#[0-9a-f]{6}\b", drawn)


def test_the_same_command_writes_the_same_bytes(tmp_path):
    written = []
    for name in ("one", "other"):  # Each with its own hash seed and dates.
        write_tree(tmp_path / name / "runs", {"adam": {"pong": [1, 2]}})
        result = command("runs", "--bootstrap", "100", cwd=tmp_path / name)
        assert result.returncode == 0, result.stderr
        out = tmp_path / name / "comparison"
        written.append({p.relative_to(out): p.read_bytes() for p in out.rglob("*.*")})
    assert written[0] == written[1]


def test_an_earlier_report_is_not_overwritten_unasked(report, capsys):
    root, _ = report
    before = {path: path.read_bytes() for path in (root / "out").glob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stop:
        main([str(root / "runs"), "--out", str(root / "out")])
    assert stop.value.code == 2
    assert re.fullmatch(
        r"dqn-compare: --out=.*: is not empty; give another directory, or --overwrite .*\n",
        capsys.readouterr().err,
    )
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "RUNS=nowhere: no such file or directory"),
        (["runs", "--confidence", "95"], "argument --confidence: '95' must be between 0 and 1"),
        (["runs", "--bootstrap", "3"], "'3' must be a whole number of at least 100"),
        (["runs", "--seed", "-1"], "'-1' must be a whole number of at least 0"),
        (["runs", "--at", "0"], "argument --at: '0' must be a positive number"),
        (["runs", "--at", "999"], "--at=999: must be at most 300 agent steps"),
        (["runs", "--axis", "hours"], "argument --axis: invalid choice: 'hours'"),
        (["runs", "--only", "adan"], "--only=adan: must be one of adam"),
        (["runs", "--games", "qbert"], "--games=qbert: must be one of pong"),
        (["runs", "--reference", "pong"], "'pong' must be GAME=LOW,HIGH"),
        (["runs", "--reference", "pong=2,1"], "'pong=2,1' must have LOW below HIGH"),
        (["runs", "--metric", "eval/x"], "RUNS: none of 1 runs has a value of eval/x yet"),
        (["runs", "--out", "runs/pong/adam/seed=1/config.yaml"], "must be a directory"),
        ([], "the following arguments are required: RUNS"),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_writes_nothing(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/pong/adam/seed=1"), [(100, 0.0), (300, 1.0)])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("dqn-compare: ")
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_without_matplotlib_it_says_what_to_install_and_writes_nothing(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"), [(100, 0.0), (300, 1.0)])
    for name in [name for name in sys.modules if name.startswith("dqn.comparison.")]:
        if name.rsplit(".", 1)[-1] in ("drawing", "figures", "cost_figures", "report"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as stop:
        main(["run", "--bootstrap", "100"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "matplotlib is missing" in error
    assert "pip install 'rmsprop-dqn[compare]'" in error
    assert error.count("\n") == 1
    assert not Path("comparison").exists()


def test_warnings_reach_terminal_and_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/pong/adam/seed=1"), [(100, 0.0), (300, 1.0)], total_agent_steps=900)
    write_run(Path("runs/pong/sgd/seed=1"), [(100, 0.0), (300, 1.0)], protocol="machado")
    main(["runs", "--bootstrap", "100"])
    errors = capsys.readouterr().err
    page = Path("comparison/index.html").read_text(encoding="utf-8")
    for warning in ("Too few seeds", "Protocols differ", "1 run is unfinished"):
        assert f"warning: {warning}" in errors
        assert warning in page


def test_published_curves_stand_beside_our_runs_at_the_same_frames(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed in range(1, 6):
        write_run(
            Path(f"runs/pong/adam/seed={seed}"), [(250_000, -15.0), (500_000, -5.0)], seed=seed
        )
    entries = [
        {"Iteration": i, "Value": -20.0 + i, "Agent": "DQN"} for _ in range(5) for i in range(200)
    ]
    Path("pong.json").write_text(json.dumps(entries))
    main(["runs", "pong.json", "--axis", "frames", "--bootstrap", "100"])
    finals = {row["group"]: float(row["estimate"]) for row in rows(Path("comparison/games.csv"))}
    assert finals == {"adam": -5.0, "DQN": -19.0}  # Dopamine's second iteration: 2 M frames.
    assert {row["compared_at"] for row in rows(Path("comparison/runs.csv"))} == {"2000000.0"}
    assert "Protocols differ" in capsys.readouterr().err


def test_hostile_names_are_text_in_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "<script>alert(1)</script>&$x^$"
    write_run(Path("run"), [(100, 0.0), (300, 1.0)])
    main([f"{name}=run", "--bootstrap", "100"])
    page = Path("comparison/index.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in page
