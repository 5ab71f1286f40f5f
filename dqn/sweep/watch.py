"""A sweep from the command that started it: its plan, its progress, its end.

Hydra's sweeper makes the jobs and its launcher runs them, in whatever processes; ``SweepCallback``,
which ``configs/train.yaml`` names, lets this one watch their records.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from dqn.sweep.records import PLAN_FILE, STOP_FILE, is_alive, records_directory, write_json
from dqn.sweep.status import read_status
from dqn.system.exit_status import BAD_INPUT_STATUS, signal_status

LINE_PERIOD_SECONDS = 30.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)

# The sweep that this process runs, a module global because nobody else can hold it: Hydra makes
# the callback, so the command never sees it, and pickles it for every job, so the callback cannot
# own a Sweep, whose thread and handlers cannot be pickled.
_running: "Sweep | None" = None


class SweepCallback(Callback):
    """Begins to watch where Hydra starts a sweep."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hydra calls this in the command's process, before the first job."""
        global _running
        sweep_dir = Path(str(config.hydra.sweep.dir))
        _refuse_second_sweep(sweep_dir)
        _running = Sweep(sweep_dir, num_jobs=count_jobs(config))


class Sweep:
    """Prints how far a sweep is, and turns a first Ctrl-C into a stop that saves every run.

    Args:
        sweep_dir: where Hydra's sweep and the records of its jobs go.
        num_jobs: runs in all, None where nobody knows.
    """

    def __init__(self, sweep_dir: Path, *, num_jobs: int | None) -> None:
        self.sweep_dir = sweep_dir
        self.stop_signal: int | None = None
        directory = records_directory(sweep_dir)
        for path in [*directory.glob("[0-9]*.*"), directory / STOP_FILE]:
            path.unlink(missing_ok=True)
        write_json(directory / PLAN_FILE, {"num_jobs": num_jobs, "pid": os.getpid()})
        self._is_over = threading.Event()
        self._previous_handlers = {
            number: signal.signal(number, self._stop)
            for number in SIGNALS
            if threading.current_thread() is threading.main_thread()
        }
        threading.Thread(target=self._watch, daemon=True).start()

    def finish(self) -> None:
        """Say how it ended, run by run where one failed."""
        self._is_over.set()
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        status = read_status(self.sweep_dir)
        write_json(
            records_directory(self.sweep_dir) / PLAN_FILE, {"num_jobs": status.num_jobs, "pid": 0}
        )
        print(f"sweep {self.sweep_dir}: {status.line()}", file=sys.stderr)
        for line in status.failures():
            print(f"  failed  {line}", file=sys.stderr)
        if self.stop_signal is not None or status.counts().keys() - {"finished"}:
            print("  the same command goes on and skips what is done", file=sys.stderr)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Make the file that every job looks for, and let a second signal end this process."""
        self.stop_signal = number
        for each, handler in self._previous_handlers.items():
            signal.signal(each, handler)
        (records_directory(self.sweep_dir) / STOP_FILE).touch()
        print(f"sweep {self.sweep_dir}: stopping, runs save their checkpoints", file=sys.stderr)

    def _watch(self) -> None:
        while not self._is_over.wait(LINE_PERIOD_SECONDS):
            print(f"sweep {self.sweep_dir}: {read_status(self.sweep_dir).line()}", file=sys.stderr)


def finish_sweep() -> int | None:
    """End the watch of this process's sweep, if it has one.

    Returns:
        Exit status of the signal that stopped the sweep; None where none did.
    """
    global _running
    if _running is None:
        return None
    sweep, _running = _running, None
    sweep.finish()
    return None if sweep.stop_signal is None else signal_status(sweep.stop_signal)


def count_jobs(config: DictConfig) -> int | None:
    """How many jobs Hydra's sweeper will make of a configuration; None where it cannot be told.

    Basic sweepers take the product of all overrides, Optuna's makes as many trials as it is told.
    """
    sweeper = config.hydra.sweeper
    num_trials = OmegaConf.select(sweeper, "n_trials")
    if num_trials is not None:
        return int(num_trials)
    params = OmegaConf.select(sweeper, "params") or {}
    values = [f"{key}={value}" for key, value in params.items()]
    values += [str(override) for override in config.hydra.overrides.task]
    num_choices: dict[str, int] = {}
    try:
        for override in OverridesParser.create().parse_overrides(values):
            count = 1
            if override.is_discrete_sweep():
                count = sum(1 for _ in override.sweep_string_iterator())
            num_choices[override.get_key_element()] = count  # The command line's replaces a file's.
    except (HydraException, AssertionError):  # glob() needs the search path, which jobs have.
        return None
    product = 1
    for count in num_choices.values():
        product *= count
    return product


def _refuse_second_sweep(sweep_dir: Path) -> None:
    """Two commands in one directory would take each other's records for their own."""
    try:
        pid = int(read_plan(sweep_dir)["pid"])
    except (OSError, ValueError, KeyError):
        return
    if pid and pid != os.getpid() and is_alive(pid):
        print(
            f"dqn-train: hydra.sweep.dir={sweep_dir}: process {pid} runs a sweep there; wait for "
            "it, or give another hydra.sweep.dir=",
            file=sys.stderr,
        )
        # Hydra turns a callback's exception into a warning and would begin. It lets this one pass.
        sys.exit(BAD_INPUT_STATUS)


def read_plan(sweep_dir: Path) -> dict[str, Any]:
    """The plan that ``Sweep`` wrote."""
    return dict(OmegaConf.load(records_directory(sweep_dir) / PLAN_FILE))  # JSON is YAML.
