"""Tries to lose a run: kills, signals, flipped bits, full disks, and the end compared bit for bit.

    python scripts/torture.py                 # 200 faults, about 15 minutes of one core
    python scripts/torture.py --faults 12 --runs cartpole breakout-sticky   # as `make test` does
    python scripts/torture.py --json FILE     # the table as JSON

Small runs of CartPole, MinAtar and Breakout (sticky and not) are trained once without a fault. Then
each is trained again and again from nothing, with faults: the process is ended or its files are
damaged, the same command is given again, until the run is finished. It must then be the undisturbed
run in every bit: weights, optimizer, replay, games, generators, metrics, evaluations and
TensorBoard's scalars, clocks aside.

The processes are real, forked from one that has imported PyTorch already; SIGKILL is the kernel's.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
# What is tortured is the checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.kinds import ENDING_KINDS, FAULTS
from faults.processes import RUNS, STOP_SIGNALS, Run, start, wait
from faults.same_runs import content, differences

from dqn.environments.action_log import ActionLog

# The short games of a torture must see new seeds too.
SEEDING_PERIOD_AGENT_STEPS = 60
# A run that has had this many faults is left alone until it is finished.
MAX_FAULTS_PER_RUN = 8
SMALL_DISK_BYTES = 64 * 2**20


@dataclass
class Tally:
    """What became of the faults of one kind."""

    tried: int = 0
    survived: int = 0
    lost: int = 0
    differing: int = 0


def main() -> None:
    """Torture, print the table, and exit with status 1 if anything was lost or differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=installed_runs())
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run later")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as directory:
        disk = small_disk(Path(directory))
        try:
            tallies, num_runs = torture(Path(directory), disk, arguments)
        finally:
            if disk is not None:
                subprocess.run(["umount", disk], check=False, capture_output=True)
    report(tallies, num_runs, time.monotonic() - started)
    if arguments.json:
        rows = {kind: vars(tally) for kind, tally in tallies.items()}
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    if any(tally.lost or tally.differing for tally in tallies.values()):
        sys.exit(1)


def installed_runs() -> list[str]:
    """All but what needs an extra that is not there."""
    return [name for name in RUNS if name != "minatar" or find_spec("minatar") is not None]


def torture(
    directory: Path, disk: Path | None, arguments: argparse.Namespace
) -> tuple[dict[str, Tally], int]:
    """Run after run with faults, until there have been enough of them."""
    generator = random.Random(arguments.seed)
    num_faults: int = arguments.faults
    ActionLog.seeding_period_agent_steps = SEEDING_PERIOD_AGENT_STEPS
    undisturbed, seconds = {}, {}
    for name in arguments.runs:
        started = time.monotonic()
        attempt = wait(start(Run(name, directory / "undisturbed" / name)))
        seconds[name] = time.monotonic() - started
        if attempt.status != 0:
            sys.exit(f"the undisturbed run {name} failed: {attempt.output}")
        undisturbed[name] = content(directory / "undisturbed" / name)
        print(f"{name}: undisturbed in {seconds[name]:.1f} s", flush=True)
    tallies = {kind: Tally() for kind in FAULTS}
    num_runs = 0
    # Every kind in turn, so that all are tried about as often.
    kinds = [kind for kind in FAULTS if kind != "disk full" or disk is not None]
    queue: list[str] = []
    deadline = time.monotonic() + 60 * arguments.minutes
    while (
        sum(tally.tried for tally in tallies.values()) < num_faults and time.monotonic() < deadline
    ):
        name = arguments.runs[num_runs % len(arguments.runs)]
        num_runs += 1
        run = Run(name, directory / f"run{num_runs}")
        while len(run.faults) < MAX_FAULTS_PER_RUN:
            if not queue:
                queue = generator.sample(kinds, len(kinds))
            kind = queue.pop()
            if kind == "disk full":
                if run.faults:
                    break
                run.directory = disk / f"run{num_runs}"
            attempt = FAULTS[kind](run, generator, seconds[name])
            if attempt is None:
                continue  # there was nothing to damage yet
            if attempt.status != 0 or kind not in ENDING_KINDS:
                tallies[kind].tried += 1
                run.faults.append(kind)
            if attempt.status == 0 or sum(t.tried for t in tallies.values()) >= num_faults:
                break
        finish(run, undisturbed[name], tallies)
        shutil.rmtree(run.directory, ignore_errors=True)
    return tallies, num_runs


def finish(run: Run, undisturbed: dict, tallies: dict[str, Tally]) -> None:
    """Give the same command until it has nothing left to do, and compare."""
    attempt = wait(start(run))
    while attempt.status in {128 + number for number in STOP_SIGNALS}:
        attempt = wait(start(run))
    counts = Counter(run.faults)
    if attempt.status != 0:
        print(f"LOST {run.name} after {run.faults}:\n{attempt.output}", flush=True)
        for kind, count in counts.items():
            tallies[kind].lost += count
        return
    compared = {key: value for key, value in undisturbed.items() if key not in run.spared}
    found = differences(compared, content(run.directory, run.spared))
    if found:
        print(f"DIFFERS {run.name} after {run.faults}: {found[:10]}", flush=True)
    for kind, count in counts.items():
        tallies[kind].survived += count
        tallies[kind].differing += count if found else 0


def small_disk(directory: Path) -> Path | None:
    """A file system of its own, in memory; None where the system does not let us mount one."""
    disk = directory / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", disk],
        capture_output=True,
        check=False,
    )
    return disk if mounted.returncode == 0 else None


def report(tallies: dict[str, Tally], num_runs: int, seconds: float) -> None:
    """The table of what was tried, survived and lost."""
    print(f"\n{'fault':<40}{'tried':>8}{'survived':>10}{'lost':>6}{'differing':>11}")
    total = Tally()
    for kind, tally in tallies.items():
        print(f"{kind:<40}{tally.tried:>8}{tally.survived:>10}{tally.lost:>6}{tally.differing:>11}")
        for key in vars(total):
            setattr(total, key, getattr(total, key) + getattr(tally, key))
    print(f"{'all':<40}{total.tried:>8}{total.survived:>10}{total.lost:>6}{total.differing:>11}")
    print(f"{num_runs} runs, {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    main()
