"""The files of a sweep in ``<sweep>/.sweep``: its plan, a record for every job, a request to stop.

Every process of a sweep reads them, on whatever machine, and each file has one writer: the command
writes the plan and the request, a launcher's worker the records of its jobs.
"""

import json
import os
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from dqn.system.whole_file import replace_file

State = Literal["running", "finished", "failed", "stopped"]

RECORDS_DIRECTORY = ".sweep"
PLAN_FILE = "plan.json"
STOP_FILE = "stop"


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """What is known of one run of a sweep.

    Attributes:
        number: of the job in the sweep, from 0.
        name: its overrides.
        state: where it stands.
        run_dir: where its results lie; None where its configuration was refused.
        total_agent_steps: how long it is.
        was_skipped: it was finished before this sweep.
        return_mean: of its last evaluation.
        error: one line, if it failed or was stopped.
        started_at: seconds since the epoch.
        seconds: from then to its end.
        host: where it runs.
        pid: of the launcher's worker.
    """

    number: int
    name: str
    state: State
    run_dir: str | None = None
    total_agent_steps: int = 0
    was_skipped: bool = False
    return_mean: float | None = None
    error: str | None = None
    started_at: float = 0.0
    seconds: float = 0.0
    host: str = ""
    pid: int = 0

    @property
    def is_dead(self) -> bool:
        """Whether it claims to run in a process that is gone; never of another machine's."""
        return (
            self.state == "running" and self.host == socket.gethostname() and not is_alive(self.pid)
        )


class RecordWriter:
    """Keeps the record of one job, which this process runs, on the disk.

    Args:
        sweep_dir: of the sweep.
        number: of the job in the sweep, from 0.
        name: its overrides.

    Attributes:
        path: of the record. The job's other files have its name, with other suffixes.
    """

    def __init__(self, sweep_dir: Path, *, number: int, name: str) -> None:
        self.path = records_directory(sweep_dir) / f"{number:04d}.json"
        self._record = JobRecord(
            number=number,
            name=name,
            state="running",
            started_at=time.time(),
            host=socket.gethostname(),
            pid=os.getpid(),
        )

    def describe(self, *, run_dir: str, total_agent_steps: int) -> None:
        """Say which run it is, once its configuration is known; ``write`` writes it."""
        self._record = replace(self._record, run_dir=run_dir, total_agent_steps=total_agent_steps)

    def write(
        self,
        state: State,
        *,
        return_mean: float | None = None,
        was_skipped: bool = False,
        error: str | None = None,
    ) -> None:
        """Replace the record on the disk.

        Raises:
            OSError: the disk refuses it.
        """
        record = replace(
            self._record,
            state=state,
            return_mean=return_mean,
            was_skipped=was_skipped,
            error=error,
            seconds=time.time() - self._record.started_at,
        )
        write_json(self.path, asdict(record))


def is_alive(pid: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def records_directory(sweep_dir: Path) -> Path:
    """Where a sweep keeps its records."""
    return sweep_dir / RECORDS_DIRECTORY


def write_json(path: Path, content: object) -> None:
    """Write a small file that a reader never sees half of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(content).encode())


def read_records(sweep_dir: Path) -> list[JobRecord]:
    """The records of a sweep's jobs that have begun, by number."""
    paths = sorted(records_directory(sweep_dir).glob("[0-9]*.json"))
    return [JobRecord(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]
