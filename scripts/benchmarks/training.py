"""Speed of training on Atari at the standard ratio, with where the time goes.

Each measurement is a process of its own: it builds the run that ``dqn-train`` would build from the
same overrides, lets it train past its warm-up, and times ``--agent-steps`` agent steps of the very
same loop. Settings and peers take turns, ``--repeats`` times, and are compared by medians.

The parts add up to the whole: "wait for them" is what is left of the environments' step once the
learner is done with what it does meanwhile, "rest" is the loop itself and the progress line.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

SETTINGS = {
    "fp32": ("precision=fp32",),
    "bf16": ("precision=bf16",),
    "bf16 batch 128 per 16": (
        "precision=bf16",
        "agent.batch_size=128",
        "agent.agent_steps_per_update=16",
        "agent.target_update_period_agent_steps=10000",
    ),
}
PEERS = ("sb3",)
_HERE = Path(__file__).parent
_BUSY = "while True: pass"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--game", default="pong", help="default: pong")
    parser.add_argument("--agent-steps", type=int, default=4000, help="timed; default: 4000")
    parser.add_argument("--repeats", type=int, default=3, help="processes each; default: 3")
    parser.add_argument(
        "--settings", nargs="+", default=["fp32", "bf16"], choices=SETTINGS, metavar="NAME",
        help=f"of ours, from {', '.join(SETTINGS)}; default: fp32 bf16",
    )  # fmt: skip
    parser.add_argument("--peer", choices=PEERS, action="append", default=[], help="in turn")
    parser.add_argument(
        "--busy", action="store_true", help="measure beside a process that keeps one core busy"
    )
    parser.add_argument(
        "overrides", nargs="*", help="of dqn-train for our settings, such as num_threads=1"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    commands = {
        f"rmsprop-dqn {name}": our_command(arguments, SETTINGS[name]) for name in arguments.settings
    } | {peer: _peer_command(arguments, peer) for peer in arguments.peer}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for _ in range(arguments.repeats):
        for name, command in commands.items():
            results[name].append(measure(command, busy=arguments.busy))
    rows = [_summary(name, measured) for name, measured in results.items()]
    _print_table(rows, arguments)
    return {
        "environment": describe_machine() | {
            "busy_neighbour": arguments.busy,
            "game": arguments.game,
            "agent_steps": arguments.agent_steps,
            "repeats": arguments.repeats,
            "overrides": arguments.overrides,
            "python": platform.python_version(),
        },
        "rows": rows,
    }  # fmt: skip


def our_command(arguments: argparse.Namespace, setting: tuple[str, ...]) -> list[str]:
    return [
        *(sys.executable, str(_HERE / "training_ours.py"), str(arguments.agent_steps)),
        *(f"env.game={arguments.game}", *setting, *arguments.overrides),
    ]


def _peer_command(arguments: argparse.Namespace, peer: str) -> list[str]:
    script = str(_HERE / f"training_{peer}.py")
    return [sys.executable, script, str(arguments.agent_steps), arguments.game]


def measure(command: list[str], *, busy: bool) -> dict[str, Any]:
    """What one process prints in its last line, beside a neighbour if so asked."""
    neighbour = subprocess.Popen([sys.executable, "-c", _BUSY]) if busy else None
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        if neighbour is not None:
            neighbour.kill()
            neighbour.wait()
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr.strip()}")
    measured: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return measured


def _summary(name: str, measured: list[dict[str, Any]]) -> dict[str, Any]:
    speeds = [m["agent_steps"] / m["seconds"] for m in measured]
    median = statistics.median(speeds)
    # The parts of one real run, the one nearest the median: only they add up.
    typical = min(measured, key=lambda m: abs(m["agent_steps"] / m["seconds"] - median))
    return {
        "contender": name,
        "agent_steps_per_second": median,
        "agent_steps_per_second_all": speeds,
        "updates_per_second": statistics.median(m["updates"] / m["seconds"] for m in measured),
        "peak_memory_gigabytes": max(m["peak_memory_bytes"] for m in measured) / 1e9,
        "milliseconds_per_agent_step": {
            part: 1e3 * seconds / typical["agent_steps"]
            for part, seconds in typical["parts_seconds"].items()
        },
    }


def _print_table(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    beside = " beside a busy neighbour" if arguments.busy else ""
    print(f"{arguments.game}{beside}: median of {arguments.repeats}, and all")
    peers = [row for row in rows if row["contender"] in PEERS]
    for row in rows:
        speeds = " ".join(f"{speed:.0f}" for speed in row["agent_steps_per_second_all"])
        ratios = "".join(
            f"  {row['agent_steps_per_second'] / peer['agent_steps_per_second']:.2f}x "
            f"{peer['contender']}"
            for peer in peers
            if peer is not row
        )
        print(
            f"{row['contender']:34}{row['agent_steps_per_second']:7.0f} agent steps/s "
            f"{row['updates_per_second']:7.1f} updates/s "
            f"{row['peak_memory_gigabytes']:5.2f} GB  ({speeds}){ratios}"
        )
    for row in rows:
        parts = row["milliseconds_per_agent_step"]
        if parts:
            print(f"\n{row['contender']}: ms per agent step")
            for part, milliseconds in parts.items():
                share = milliseconds / sum(parts.values())
                print(f"  {part:34}{milliseconds:8.3f}{share:7.1%}")
            print(f"  {'whole':34}{sum(parts.values()):8.3f}")
