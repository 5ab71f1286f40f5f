"""``dqn-sweep-status``: how far a sweep is, for people; it only reads.

Exit status: 0 read, 2 there is no sweep.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from dqn.run_format import METRICS_FILE
from dqn.sweep.records import PLAN_FILE, JobRecord, read_records, records_directory
from dqn.system.exit_status import BAD_INPUT_STATUS

TAIL_BYTES = 65_536


class SweepStatus(NamedTuple):
    """Where a sweep stands.

    Attributes:
        num_jobs: runs in all; None where the sweeper does not say beforehand.
        records: of the runs that have begun.
        seconds_left: estimate, None where there is nothing to estimate from.
    """

    num_jobs: int | None
    records: list[JobRecord]
    seconds_left: float | None

    def counts(self) -> Counter[str]:
        """Runs by state; ``dead`` claim to run and are gone."""
        return Counter("dead" if record.is_dead else record.state for record in self.records)

    def line(self) -> str:
        """The sweep in one line."""
        counts = self.counts()
        skipped = sum(record.was_skipped for record in self.records)
        of = "" if self.num_jobs is None else f" of {self.num_jobs}"
        parts = [f"{counts['finished']}{of} done" + (f" ({skipped} before)" if skipped else "")]
        parts += [
            f"{counts[state]} {state}"
            for state in ("running", "failed", "stopped", "dead")
            if counts[state] or state in ("running", "failed")
        ]
        if self.seconds_left is not None:
            parts.append(f"about {format_seconds(self.seconds_left)} left")
        return ", ".join(parts)

    def failures(self) -> list[str]:
        """One line for every run that has failed."""
        lines = []
        for record in self.records:
            if record.is_dead:
                lines.append(f"{record.name}: its worker is gone; the same command goes on")
            elif record.state == "failed":
                lines.append(f"{record.name}: {record.error}")
        return lines


def format_seconds(seconds: float) -> str:
    """A duration to one or two figures.

    >>> format_seconds(40), format_seconds(600), format_seconds(3 * 3600 + 1200)
    ('40 s', '10 min', '3 h 20 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def progress_of(record: JobRecord) -> float:
    """Share of a running job's agent steps that its metrics tell of, from 0 to 1."""
    if record.run_dir is None or record.total_agent_steps < 1:
        return 0.0
    try:
        with (Path(record.run_dir) / METRICS_FILE).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().splitlines()
        return min(1.0, float(json.loads(lines[-1])["step"]) / record.total_agent_steps)
    except (OSError, ValueError, IndexError, KeyError):
        return 0.0


def estimate_seconds_left(
    records: list[JobRecord], num_jobs: int | None, *, now: float
) -> float | None:
    """What is left, at the mean duration of this sweep's runs, shared by those that run now."""
    durations = [
        record.seconds
        for record in records
        if record.state == "finished" and not record.was_skipped
    ]
    running = [record for record in records if record.state == "running" and not record.is_dead]
    progress = [progress_of(record) for record in running]
    if not durations:  # No run has finished yet, so the running ones' own speed counts.
        durations = [
            (now - record.started_at) / share
            for record, share in zip(running, progress, strict=True)
            if share > 0
        ]
    if num_jobs is None or not durations or not running:
        return None
    mean_seconds = sum(durations) / len(durations)
    num_waiting = max(0, num_jobs - len(records))
    return mean_seconds * (num_waiting + sum(1 - share for share in progress)) / len(running)


def read_status(sweep_dir: Path) -> SweepStatus:
    """Read the records of a sweep.

    Raises:
        FileNotFoundError: no sweep was ever started there.
    """
    plan_path = records_directory(sweep_dir) / PLAN_FILE
    plan = json.loads(plan_path.read_text(encoding="utf-8"))
    records = read_records(sweep_dir)
    return SweepStatus(
        num_jobs=plan["num_jobs"],
        records=records,
        seconds_left=estimate_seconds_left(records, plan["num_jobs"], now=time.time()),
    )


def main() -> None:
    """The console script."""
    parser = argparse.ArgumentParser(
        prog="dqn-sweep-status",
        description="How far a sweep over optimizers, games and seeds is.",
    )
    parser.add_argument("sweep_dir", type=Path, help="hydra.sweep.dir, such as runs/sweep_cartpole")
    arguments = parser.parse_args()
    try:
        status = read_status(arguments.sweep_dir)
    except OSError as error:
        print(
            f"dqn-sweep-status: {arguments.sweep_dir}: holds no sweep ({error.strerror})",
            file=sys.stderr,
        )
        sys.exit(BAD_INPUT_STATUS)
    print(status.line())
    for record in status.records:
        if record.state == "running" and not record.is_dead:
            print(f"  running {100 * progress_of(record):3.0f} %  {record.name}")
    for line in status.failures():
        print(f"  failed  {line}")


if __name__ == "__main__":
    main()
