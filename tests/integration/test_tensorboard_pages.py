"""What TensorBoard serves and shows of two real runs: comparison without a line of code."""

import contextlib
import dataclasses
import json
import re
import subprocess
import sys
import time
import urllib.request

import pytest
from helpers.chromium import look, needs_chromium, read
from helpers.tiny_runs import read_lines, tiny_config

from dqn.run.lifecycle import train

OPTIMIZERS = ("adam", "rmsprop_deepmind")
LAYER = "head.linear.weight"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("tensorboard") / "runs"
    for optimizer in OPTIMIZERS:
        run_dir = root / "cartpole" / "cartpole" / optimizer / "seed=1"
        # Set afterwards: Hydra's grammar would have the "=" of the path in quotes.
        config = tiny_config(root, f"optimizer={optimizer}")
        train(dataclasses.replace(config, run_dir=str(run_dir)), label=optimizer)
    return root


@pytest.fixture(scope="module")
def address(runs):
    """TensorBoard as ``make tensorboard`` starts it, on a free port."""
    with subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if match := re.search(r"http://localhost:\d+", line):
                    break
            else:
                pytest.fail("TensorBoard did not start")
            wait_for_runs(match[0])
            yield match[0]
        finally:
            server.terminate()


def wait_for_runs(address):
    for _ in range(100):
        with contextlib.suppress(OSError):
            tags = get(f"{address}/data/plugin/scalars/tags")
            if len(tags) == 2 and all("eval/return_mean" in of_run for of_run in tags.values()):
                return
        time.sleep(0.2)
    pytest.fail("TensorBoard has not read the runs within 20 s")


def get(url, data=None):
    request = urllib.request.Request(
        url,
        data=None if data is None else json.dumps(data).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def last_evaluation(runs, optimizer):
    lines = read_lines(runs / "cartpole" / "cartpole" / optimizer / "seed=1" / "metrics.jsonl")
    return [line["eval/return_mean"] for line in lines if "eval/return_mean" in line][-1]


def test_runs_are_named_by_what_distinguishes_them_one_each(address):
    assert sorted(get(f"{address}/data/runs")) == [
        f"cartpole/cartpole/{optimizer}/seed=1" for optimizer in OPTIMIZERS
    ]


def test_scalars_hold_returns_and_effective_learning_rates_of_every_layer(address):
    for tags in get(f"{address}/data/plugin/scalars/tags").values():
        assert {"episode/return", "eval/return_mean", "train/loss"} <= set(tags)
        assert {f"effective_lr/{LAYER}/{q}" for q in ("p05", "p50", "p95")} <= set(tags)
        assert {f"effective_lr_eps_bound/{LAYER}", f"update_ratio/{LAYER}"} <= set(tags)


def test_custom_scalars_begin_with_the_return_and_draw_a_band_for_each_layer(address):
    first, _ = get(f"{address}/data/plugin/custom_scalars/layout")["category"]
    charts = {chart["title"]: chart for chart in first["chart"]}
    assert "eval/return_mean" in first["chart"][0]["multiline"]["tag"]
    assert charts[LAYER]["margin"]["series"] == [
        {
            "value": f"effective_lr/{LAYER}/p50",
            "lower": f"effective_lr/{LAYER}/p05",
            "upper": f"effective_lr/{LAYER}/p95",
        }
    ]


def test_hparams_list_one_row_a_run_with_its_settings_and_final_evaluation(address, runs):
    answer = get(
        f"{address}/data/plugin/hparams/session_groups",
        {
            "experimentName": "",
            "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_RUNNING"],
            "startIndex": 0,
            "sliceSize": 10,
            "colParams": [{"metric": {"tag": "eval/return_mean", "group": ""}}],
        },
    )
    rows = {group["name"]: group for group in answer["sessionGroups"]}
    assert len(rows) == len(OPTIMIZERS)
    for optimizer in OPTIMIZERS:
        row = rows[f"cartpole/cartpole/{optimizer}/seed=1"]
        assert row["hparams"]["seed"] == 1
        assert row["hparams"]["env.game"] == "cartpole"
        (metric,) = row["metricValues"]
        assert metric["name"]["tag"] == "eval/return_mean"
        # TensorBoard keeps 32 bits.
        assert metric["value"] == pytest.approx(last_evaluation(runs, optimizer), rel=1e-6)
    rates = {row["hparams"]["optimizer.lr"] for row in rows.values()}
    assert rates == {6.25e-5, 2.5e-4}


@needs_chromium
def test_time_series_page_shows_both_runs_and_the_cards_of_rates(address, tmp_path):
    document = read(f"{address}/#timeseries", tmp_path)
    for optimizer in OPTIMIZERS:
        assert f"cartpole/cartpole/{optimizer}/seed=1" in document
    assert "effective_lr/head.linear" in document


@needs_chromium
@pytest.mark.parametrize("page", ["custom_scalars", "hparams"])
def test_comparison_pages_draw_something(address, tmp_path, page):
    pixels = look(f"{address}/#{page}", tmp_path, size=(1400, 1000)).pixels
    # Below the header, right of the menu. Without data the first page stays white and the second
    # explains itself, with links in the browser's own blue.
    content = pixels[140:, 380:]
    assert (content.mean(axis=-1) < 140).mean() > 0.004
    assert not (pixels == (0, 0, 238)).all(axis=-1).any()
