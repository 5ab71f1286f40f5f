"""Training speed against number of environments, batch size and threads, as a table and a picture.

One axis is changed at a time, from ``dqn-train``'s default settings with ``precision=bf16``. Batch
sizes keep the replay ratio: twice the batch, half the updates. Threads are those of
``num_threads``, PyTorch's too; all other rows have its default 0, which gives the second thread to
the torso alone.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.training import SETTINGS, measure, our_command

AXES: dict[str, tuple[int, ...]] = {
    "environments": (1, 2, 4, 8, 16, 32, 64),
    "batch size": (16, 32, 64, 128, 256),
    "threads": (1, 2, 4, 8, 16),
}
COLUMNS = ("axis", "value", "agent_steps_per_second", "updates_per_second", "lowest", "highest")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--game", default="pong", help="default: pong")
    parser.add_argument("--agent-steps", type=int, default=3000, help="timed; default: 3000")
    parser.add_argument("--repeats", type=int, default=3, help="processes each; default: 3")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write scaling.csv and .png")
    parser.add_argument("overrides", nargs="*", help="of dqn-train, for all of them")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    machine = describe_machine()
    settings = [
        (axis, value)
        for axis, values in AXES.items()
        for value in values
        if axis != "threads" or value <= machine["cores"]
    ]
    speeds: dict[tuple[str, int], list[tuple[float, float]]] = {key: [] for key in settings}
    for _ in range(arguments.repeats):
        for axis, value in settings:
            overrides = (*SETTINGS["bf16"], *_overrides(axis, value), *arguments.overrides)
            measured = measure(our_command(arguments, overrides), busy=False)
            seconds = measured["seconds"]
            speeds[axis, value].append(
                (measured["agent_steps"] / seconds, measured["updates"] / seconds)
            )
    rows = [_row(axis, value, speeds[axis, value]) for axis, value in settings]
    print(f"{'':14}{'':>8}{'agent steps/s':>16}{'updates/s':>12}   lowest to highest")
    for row in rows:
        print(
            f"{row['axis']:14}{row['value']:8}{row['agent_steps_per_second']:16.0f}"
            f"{row['updates_per_second']:12.1f}   {row['lowest']:.0f} to {row['highest']:.0f}"
        )
    if arguments.out is not None:
        _write(rows, arguments.out)
    return {"environment": machine | {"repeats": arguments.repeats}, "rows": rows}


def _overrides(axis: str, value: int) -> tuple[str, ...]:
    if axis == "environments":
        return (f"env.num_envs={value}",)
    if axis == "threads":
        return (f"num_threads={value}", f"env.num_threads={value}")
    return (
        f"agent.batch_size={value}",
        f"agent.agent_steps_per_update={value // 8}",  # 32 for 4 agent steps
        f"agent.target_update_period_agent_steps={256 * 8}",
    )


def _row(axis: str, value: int, speeds: list[tuple[float, float]]) -> dict[str, Any]:
    agent_steps, updates = zip(*speeds, strict=True)
    return {
        "axis": axis,
        "value": value,
        "agent_steps_per_second": statistics.median(agent_steps),
        "updates_per_second": statistics.median(updates),
        "lowest": min(agent_steps),
        "highest": max(agent_steps),
    }


def _write(rows: list[dict[str, Any]], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "scaling.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(
            {key: round(item, 1) if isinstance(item, float) else item for key, item in row.items()}
            for row in rows
        )
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        sys.exit("the picture needs matplotlib: pip install 'rmsprop-dqn[studies]'")
    figure, panels = plt.subplots(1, len(AXES), figsize=(11, 3.4), sharey=True)
    for panel, axis in zip(panels, AXES, strict=True):
        of_axis = [row for row in rows if row["axis"] == axis]
        values = [row["value"] for row in of_axis]
        medians = [row["agent_steps_per_second"] for row in of_axis]
        panel.fill_between(
            values,
            [row["lowest"] for row in of_axis],
            [row["highest"] for row in of_axis],
            alpha=0.25,
        )
        panel.plot(values, medians, marker="o", label="measured")
        if axis == "threads":  # The only axis along which more of it should mean more speed.
            linear = [medians[0] * value / values[0] for value in values]
            panel.plot(values, linear, linestyle=":", color="grey", label="linear")
            panel.legend()
        panel.set_xscale("log", base=2)
        panel.set_xticks(values, [str(value) for value in values])
        panel.set_ylim(0, 1.15 * max(row["highest"] for row in rows))
        panel.set_xlabel("num_threads" if axis == "threads" else axis)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("agent steps / s")
    figure.tight_layout()
    figure.savefig(directory / "scaling.png", dpi=150, metadata={"Software": None})
