"""The benchmark of the optimizer step: what it counts and what it writes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.trajectories import can_fuse

BENCHMARK = Path(__file__).parents[3] / "scripts" / "benchmark.py"


@pytest.mark.skipif(not can_fuse(), reason="no C++ compiler on this machine")
def test_benchmark_writes_every_path_and_peer_with_its_traffic(tmp_path):
    file = tmp_path / "optimizer.json"
    command = [sys.executable, "-W", "ignore", str(BENCHMARK), "optimizer", "--no-compile"]
    command += ["--threads", "1", "--rounds", "2", "--json", str(file)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    result = json.loads(file.read_text())
    rows = {(row["contender"], row["variant"]): row for row in result["rows"]}
    assert all(f"{contender:24}{variant}" in printed.stdout for contender, variant in rows)

    # 32·4·8·8 + 64·32·4·4 + 64·64·3·3 + 512·3136 + 6·512 weights, 32 + 64 + 64 + 512 + 6 biases.
    num_parameters = 1_687_206
    assert result["environment"]["num_parameters"] == num_parameters
    variants = {"plain": 20, "centred": 28, "momentum": 28, "centred + momentum": 36}
    steps = ["rmsprop fused", "rmsprop foreach", "rmsprop for-loop"]
    steps += ["torch for-loop", "torch foreach"]
    expected = {(step, variant): count for step in steps for variant, count in variants.items()}
    expected |= {("torch Adam fused", "-"): 28, ("copy of the parameters", "-"): 8}
    counted = {key: row["bytes_moved_at_least"] / num_parameters for key, row in rows.items()}
    assert counted == expected
    for row in rows.values():
        gigabytes_per_second = row["bytes_moved_at_least"] / 1e9 / (row["median_ms"] / 1e3)
        assert row["gigabytes_per_second"] == pytest.approx(gigabytes_per_second)
    assert rows["copy of the parameters", "-"]["share_of_copy_bandwidth"] == pytest.approx(1)
