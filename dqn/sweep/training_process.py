"""The process that a job of a sweep trains in: started, watched, and asked how it ended.

This is the side of the launcher's worker; ``dqn.sweep.child`` is the side of the process.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from dqn.config import ConfigError
from dqn.system.exit_status import BAD_INPUT_STATUS, ReportedFailure, signal_status
from dqn.system.stopping import STOP_SIGNALS, StopRequest

POLL_SECONDS = 0.2

# The pid of the process that started this launcher's worker. When the worker's parent changes, the
# sweep has died and the worker must stop its run. Read at import, once a process: read at each job,
# a worker whose parent died between two jobs would take its new parent for the right one.
_PARENT = os.getppid()


class RunFailed(ReportedFailure):
    """A run of a sweep that did not finish, in one line, which the end of the sweep repeats."""


class RunStopped(RuntimeError):
    """The run was asked to stop, and has."""


def worker_is_orphan() -> bool:
    """Whether the process that started this worker is gone."""
    return os.getppid() != _PARENT


def train_in_process(config_path: Path, label: str, log_path: Path, stop_path: Path) -> None:
    """Train in a process of its own, to its end.

    Args:
        config_path: of the YAML file to train as.
        label: what progress lines call the run.
        log_path: takes what the process tells.
        stop_path: a file that asks the process to stop, as soon as it is there.

    Raises:
        ConfigError: the process refused its configuration.
        RunStopped: it was asked to stop, by a signal, the file or the end of the sweep, and has.
        RunFailed: it failed or was killed.
    """
    with StopRequest() as stop:
        status, was_told = _run(_command(config_path, label), log_path, stop_path, stop)
    if status == 0:
        return
    last_line = _last_line(log_path)
    if was_told or status in {signal_status(number) for number in STOP_SIGNALS}:
        # Everything is saved by now. submitit's own handler, which this calls, requeues the job.
        stop.forward()
        raise RunStopped(f"stopped ({last_line})")
    if status == BAD_INPUT_STATUS:
        raise ConfigError(last_line.removeprefix("dqn-train: "))
    if status < 0:
        name = signal.Signals(-status).name
        why = " (out of memory?)" if -status == signal.SIGKILL else ""
        raise RunFailed(f"killed by {name}{why}; the same command goes on from its checkpoint")
    raise RunFailed(f"{last_line}; see {log_path}")


def _run(
    command: list[str], log_path: Path, stop_path: Path, stop: StopRequest
) -> tuple[int, bool]:
    """The process's exit status, and whether it was told to stop."""
    environment = dict(os.environ)
    # A job gets one thread, unless a launcher that gives it more cores has set this variable.
    environment.setdefault("OMP_NUM_THREADS", "1")
    was_told = False
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            # Packages greet on standard output, as pygame does when it draws.
            stdout=subprocess.DEVNULL,
            stderr=log,
            # In a session of its own it gets a Ctrl-C of the terminal once, from this process.
            start_new_session=True,
        ) as process,
    ):
        try:
            while True:
                try:
                    return process.wait(timeout=POLL_SECONDS), was_told
                except subprocess.TimeoutExpired:
                    if not was_told and (stop.is_set() or stop_path.exists() or worker_is_orphan()):
                        process.terminate()
                        was_told = True
        except BaseException:
            process.kill()
            raise


def _command(config_path: Path, label: str) -> list[str]:
    return [sys.executable, "-m", "dqn.sweep.child", str(config_path), label]


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no message")
