"""One run of a sweep: skipped if it is finished, else a process of its own, and always recorded.

A sweep is the product of Hydra's overrides on one of Hydra's launchers; this module is what each of
its jobs does, whichever launcher started it::

    finished before?   -> its result is read, nothing is run
    else               -> python -m dqn.sweep.job CONFIG LABEL, which starts or continues the run
    ended how?         -> <sweep>/.sweep/0007.json: finished, failed (with the error) or stopped

A process of its own can run out of memory, crash or be killed without taking a launcher's worker
with it, which would end the whole sweep (joblib). It stops, with a checkpoint, when the sweep is
stopped and when whoever started it is gone.
"""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, cast

from dqn.config import (
    ConfigError,
    TrainConfig,
    flatten,
    load_config,
    load_train_config,
    save_config,
)
from dqn.run_format import CONFIG_FILE, EVALUATIONS_FILE, RESULT_FILE
from dqn.system.stopping import STOP_SIGNALS, StopRequest
from dqn.system.whole_file import replace_file

State = Literal["running", "finished", "failed", "stopped"]

RECORDS_DIRECTORY = ".sweep"
PLAN_FILE = "plan.json"
STOP_FILE = "stop"
BAD_INPUT_STATUS = 2
POLL_SECONDS = 0.2

# Of the launcher's worker: another one later means that it is gone and we are an orphan.
_PARENT = os.getppid()


class RunFailed(RuntimeError):
    """A run of a sweep that did not finish, in one line."""


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


def run_job(
    validated: Callable[[], TrainConfig],
    label: Callable[[TrainConfig], str],
    *,
    number: int,
    name: str,
    sweep_dir: Path,
) -> float:
    """Run one job of a sweep to its end, in whatever state it stands, and record it.

    Args:
        validated: checks and returns the configuration.
        label: what progress lines call the run.
        number: of the job in the sweep.
        name: what distinguishes it, for people.
        sweep_dir: where its record goes.

    Returns:
        Mean return of its last evaluation.

    Raises:
        ConfigError: its configuration is refused, or its directory holds another run.
        RunFailed: it did not finish: it failed, was killed or was stopped.
    """
    directory = records_directory(sweep_dir)
    record = JobRecord(
        number=number,
        name=name,
        state="running",
        started_at=time.time(),
        host=socket.gethostname(),
        pid=os.getpid(),
    )

    def put(state: State, **changes: object) -> None:
        nonlocal record
        seconds = time.time() - record.started_at
        record = replace(record, state=state, seconds=seconds, **changes)  # type: ignore[arg-type]
        write_json(directory / f"{number:04d}.json", asdict(record))

    try:
        config = validated()
        record = replace(record, run_dir=config.run_dir, total_agent_steps=config.total_agent_steps)
        return_mean = finished_return_mean(config)
        if return_mean is not None:
            put("finished", was_skipped=True, return_mean=return_mean)
            return return_mean
        if (directory / STOP_FILE).exists() or _is_orphan():
            put("stopped", error="not started: the sweep was stopped")
            raise RunFailed(f"{name}: not started: the sweep was stopped")
        put("running")
        config_path = directory / f"{number:04d}.yaml"
        save_config(config, config_path)
        log_path = directory / f"{number:04d}.log"
        _run_process(config_path, label(config), log_path, directory / STOP_FILE)
    except ConfigError as error:
        put("failed", error=str(error))
        raise
    except _Stopped as error:
        put("stopped", error=str(error))
        raise RunFailed(f"{name}: {error}") from None
    except RunFailed as error:
        if record.state == "running":
            put("failed", error=str(error))
        raise RunFailed(f"{name}: {error}") from None
    return_mean = _write_result(config)
    put("finished", return_mean=return_mean)
    return return_mean


def finished_return_mean(config: TrainConfig) -> float | None:
    """The result of a run that an earlier sweep finished with this very configuration, else None.

    The result is believed only beside the configuration and the evaluation that it was written
    for: another command may have changed the run since.
    """
    run_dir = Path(config.run_dir)
    try:
        result = json.loads((run_dir / RESULT_FILE).read_text(encoding="utf-8"))
        written_for = _result(run_dir, flatten(load_config(run_dir / CONFIG_FILE)))
    except (OSError, ValueError, IndexError):  # ConfigError is a ValueError.
        return None
    if config.overwrite or result != written_for or result["config"] != flatten(asdict(config)):
        return None
    return float(result["return_mean"])


def _write_result(config: TrainConfig) -> float:
    """Remember that the run is finished. A run without is only asked again whether it is.

    Returns:
        Mean return of its last evaluation, NaN where a full disk has lost it.
    """
    run_dir = Path(config.run_dir)
    return_mean = math.nan
    try:
        result = _result(run_dir, flatten(asdict(config)))
        return_mean = float(cast(float, result["return_mean"]))
        write_json(run_dir / RESULT_FILE, result)
    except (OSError, ValueError, IndexError) as error:
        print(f"warning: {run_dir} is not marked as finished: {error}", file=sys.stderr)
    return return_mean


def _result(run_dir: Path, flat_config: dict[str, object]) -> dict[str, object]:
    lines = (run_dir / EVALUATIONS_FILE).read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    return {"step": last["step"], "return_mean": last["return_mean"], "config": flat_config}


class _Stopped(RuntimeError):
    """The run was asked to stop, and has."""


def _run_process(config_path: Path, label: str, log_path: Path, stop_path: Path) -> None:
    """Train in a process of its own; what it tells goes to ``log_path``."""
    environment = dict(os.environ)
    # One thread a job; a launcher that has given the job more cores has said so here.
    environment.setdefault("OMP_NUM_THREADS", "1")
    was_told = False
    with (
        StopRequest() as stop,
        log_path.open("wb") as log,
        # A session of its own: a Ctrl-C in the terminal reaches it through us, once.
        subprocess.Popen(
            _command(config_path, label),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # Of packages that greet, as pygame does when it draws.
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            while True:
                try:
                    process.wait(timeout=POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    if not was_told and (stop.is_set() or stop_path.exists() or _is_orphan()):
                        process.terminate()
                        was_told = True
        except BaseException:
            process.kill()
            raise
    status = process.returncode
    if status == 0:
        return
    last_line = _last_line(log_path)
    if was_told or status in {128 + number for number in STOP_SIGNALS}:
        # Only now that everything is saved: submitit's own handler requeues the job.
        stop.forward()
        raise _Stopped(f"stopped ({last_line})")
    if status == BAD_INPUT_STATUS:
        raise ConfigError(last_line.removeprefix("dqn-train: "))
    if status < 0:
        name = signal.Signals(-status).name
        why = " (out of memory?)" if -status == signal.SIGKILL else ""
        raise RunFailed(f"killed by {name}{why}; the same command goes on from its checkpoint")
    raise RunFailed(f"{last_line}; see {log_path}")


def _command(config_path: Path, label: str) -> list[str]:
    return [sys.executable, "-m", "dqn.sweep.job", str(config_path), label]


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no message")


def _is_orphan() -> bool:
    return os.getppid() != _PARENT


def _stop_when_orphaned() -> None:
    while not _is_orphan():
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


def _main(config_path: str, label: str) -> None:
    """The process: train as ``config_path`` says."""
    # The handlers that training finds, so that a second signal (a scheduler tells every process of
    # a job, and the worker tells this one too) does not end it while it saves.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_stop_when_orphaned, daemon=True).start()
    from dqn.run.lifecycle import train

    try:
        train(load_train_config(Path(config_path)), label=label)
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(BAD_INPUT_STATUS)


if __name__ == "__main__":
    _main(*sys.argv[1:])
