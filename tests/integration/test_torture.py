"""The short version of ``scripts/torture.py``: real kills, damaged files, refused writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_tortured_runs_end_in_the_bits_of_undisturbed_ones(tmp_path):
    table = tmp_path / "table.json"
    finished = subprocess.run(
        [
            *(sys.executable, ROOT / "scripts" / "torture.py", "--faults", "12", "--seed", "1"),
            *("--runs", "cartpole", "breakout-sticky", "--json", table),
        ],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    rows = json.loads(table.read_text())
    assert sum(row["tried"] for row in rows.values()) >= 12
    # Which ones depends on the clock: what is killed when.
    assert sum(row["tried"] > 0 for row in rows.values()) >= 4, "kinds of faults"
    assert sum(row["survived"] for row in rows.values()) >= 12
    assert all(row["lost"] == row["differing"] == 0 for row in rows.values())
