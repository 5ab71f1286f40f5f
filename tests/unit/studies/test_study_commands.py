"""What every study does as a command, and what the page about them promises."""

import csv
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import _common
import memory_of_alpha
import pytest
import two_parameters

ROOT = Path(__file__).resolve().parents[3]
IMAGES = ROOT / "docs" / "images"
STUDIES = sorted(
    path.stem for path in (ROOT / "scripts" / "studies").glob("*.py") if path.stem != "_common"
)
PAGE = (ROOT / "docs" / "effective_learning_rates.md").read_text(encoding="utf-8")


def test_a_study_prints_its_table_and_writes_the_committed_numbers(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "scripts/studies/two_parameters.py", "--out", str(tmp_path / "new")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    first_row = finished.stdout.splitlines()[1].split()
    assert first_row[:5] == ["1", "10", "0.003162", "0.03162", "0.1"]
    written = tmp_path / "new" / "two_parameters.csv"
    assert written.read_text() == (IMAGES / "two_parameters.csv").read_text()
    assert (tmp_path / "new" / "two_parameters.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seeds", "one"], "argument --seeds: a seed is a whole number from 0 on, got 'one'"),
        (["--seeds", "1", "1"], "--seeds must differ from one another, got [1, 1]"),
        (["--out", __file__], f"argument --out: cannot write to folder '{__file__}': File exists"),
        (["--steps", "3"], "unrecognized arguments: --steps 3"),
    ],
)
def test_a_wrong_argument_gets_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        _common.parse_arguments("a study", seeds=[0], argv=arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.rstrip("\n").split(": ", 1)[1] == complaint


def test_a_study_without_chance_has_no_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _common.parse_arguments("a study", argv=["--seeds", "1"])
    assert "unrecognized arguments: --seeds 1" in capsys.readouterr().err


def test_a_missing_matplotlib_is_said_before_the_work_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        _common.parse_arguments("a study", argv=["--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert "pip install 'rmsprop-dqn[studies]'" in capsys.readouterr().err
    # Without --out nothing is drawn, and nothing is missing.
    assert _common.parse_arguments("a study", argv=[]).out is None


def test_columns_of_numbers_are_aligned_right_and_of_words_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _common.print_table([{"name": "a", "x": 1.23456}, {"name": "long", "x": 1000.0}])
    assert capsys.readouterr().out.splitlines() == ["name      x", "a     1.235", "long   1000"]


def test_the_committed_memory_of_alpha_is_what_its_study_computes() -> None:
    with (IMAGES / "memory_of_alpha.csv").open(newline="") as file:
        committed = [float(row["effective_lr"]) for row in csv.DictReader(file)]
    computed = [row["effective_lr"] for row in memory_of_alpha.data(memory_of_alpha.run([0]))]
    assert committed == pytest.approx(computed, rel=1e-5)


def test_every_study_has_a_picture_its_numbers_and_its_command_on_the_page() -> None:
    assert re.findall(r"!\[[^\]]+\]\(images/(\w+)\.png\)", PAGE) == re.findall(
        r"python scripts/studies/(\w+)\.py --out docs/images", PAGE
    )
    for study in STUDIES:
        assert (IMAGES / f"{study}.csv").is_file(), study
        assert (IMAGES / f"{study}.png").is_file(), study
        assert f"images/{study}.png" in PAGE, study
    assert sorted(path.stem for path in IMAGES.glob("*.png")) == STUDIES


def test_the_pages_first_table_is_the_worked_example() -> None:
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", PAGE, re.MULTILINE)
    steps = {step.step: step for step in two_parameters.run(10)[::2]}
    assert [int(number) for number, *_ in rows] == [1, 2, 3, 10]
    for number, *shown in rows:
        step = steps[int(number)]
        exact = (step.square_avg, step.effective_lr, step.rmsprop_moved)
        assert [float(value) for value in shown] == pytest.approx(exact, rel=5e-3)
