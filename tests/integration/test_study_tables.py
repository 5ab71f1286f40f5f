"""What is printed about a study: a small sweep's table, its contrasts, and a wrong comparison."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.written_runs import LAYER, write_tree

ROOT = Path(__file__).resolve().parents[2]
# The last evaluation of each run; the two before are 0 and half of it.
SCORES = {
    "adam": {"cartpole": [400.0, 40.0, 80.0, 60.0, 20.0]},
    "sgd": {"cartpole": [8.0, 16.0, 12.0, 4.0, 20.0]},
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_tree(root / "runs", SCORES, rate=2e-3)
    run(root, "-m", "dqn.compare", "runs", "--out", "compared", "--bootstrap", "100")
    return root


def run(folder, *arguments, returncode=0):
    finished = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=280
    )
    assert finished.returncode == returncode, finished.stderr
    return finished


def table(folder, *, returncode=0):
    arguments = ("runs", "compared", "--target", "80", "--layers", LAYER, "--at", "190")
    script = str(ROOT / "scripts" / "study_table.py")
    return run(folder, script, *arguments, returncode=returncode)


def rows_of(text):
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines()[2:]]


def test_the_table_is_what_the_runs_say(sweep):
    scores, layers = table(sweep).stdout.split("\n\n")
    cells = rows_of(scores)
    # Areas by hand: of 0, s/2 and s at equal distances, the mean height is s/2; then their means.
    assert [row[0] for row in cells] == ["`adam`", "`sgd`"]
    assert cells[0][2].startswith("60 [")
    assert cells[1][2].startswith("6.0 [")
    # One of five is left out at each end.
    assert cells[0][3].startswith("60 [")
    assert cells[1][3].startswith("12.0 [")
    assert [row[4] for row in cells] == ["2", "0"]
    assert rows_of(layers)[0] == ["`adam`", "0.002 (0.25)", "0.0002"]


def test_a_comparison_that_says_something_else_is_refused(sweep):
    metrics = sweep / "runs" / "cartpole" / "sgd" / "seed=3" / "metrics.jsonl"
    kept = metrics.read_text()
    try:
        metrics.write_text(kept.replace('"eval/return_mean": 12.0', '"eval/return_mean": 13.0'))
        refused = table(sweep, returncode=1)
    finally:
        metrics.write_text(kept)
    assert refused.stdout == ""
    assert "of sgd: " in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_contrasts_are_paired_by_seed(sweep):
    script = str(ROOT / "scripts" / "study_contrasts.py")
    (cells,) = rows_of(run(sweep, script, "compared", "adam:sgd").stdout)
    # Of means over training, half of SCORES: -196, -12, -34, -28 and 0. As large a sum have all
    # signs alike, the zero's either way: 4 of 32.
    assert cells[:2] == ["`sgd` − `adam`", "5"]
    assert cells[2].startswith("-54 [")
    assert cells[3:] == ["0.12", "0.12"]


@pytest.mark.parametrize(
    ("contrast", "complaint"),
    [
        ("adam", "study_contrasts: 'adam' must be two settings, A:B"),
        ("adam:x", "study_contrasts: 'x' is no setting of this comparison: adam, sgd"),
    ],
)
def test_a_contrast_that_cannot_be_asked_is_refused(sweep, contrast, complaint):
    script = str(ROOT / "scripts" / "study_contrasts.py")
    refused = run(sweep, script, "compared", contrast, returncode=1)
    assert (refused.stdout, refused.stderr) == ("", complaint + "\n")


def test_games_weigh_the_same_in_estimate_and_test(tmp_path):
    # One game's two pairs differ by +2 standard deviations, the other's eight by -2.
    rows = ["group,game,seed,mean_return_over_training"]
    for game, num_seeds, difference in (("x", 2, 4), ("y", 8, -1)):
        for seed in range(num_seeds):
            rows += [f"a,{game},{seed},0", f"b,{game},{seed},{difference}"]
    (tmp_path / "runs.csv").write_text("\n".join(rows) + "\n")
    script = str(ROOT / "scripts" / "study_contrasts.py")
    (cells,) = rows_of(run(tmp_path, script, ".", "a:b").stdout)
    assert cells == ["`b` − `a`", "10", "+0.00 [+0.00, +0.00]", "1", "1"]
    (tmp_path / "runs.csv").write_text("\n".join([*rows, rows[1]]) + "\n")
    refused = run(tmp_path, script, ".", "a:b", returncode=1)
    assert refused.stderr == "study_contrasts: a has two runs of x, seed 0\n"
