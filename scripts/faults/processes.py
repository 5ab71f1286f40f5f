"""The runs that are tortured, and their processes, forked from one that has imported all."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from faults.tiny_runs import CARTPOLE, MINATAR, PONG

from dqn import train

_CARTPOLE = (*CARTPOLE, "total_agent_steps=600", "checkpoint.period_agent_steps=40")
# A game of Breakout that is played half at random takes some 200 agent steps, one of Pong a
# thousand. An untrained network never serves, and only the clock would end its game.
_ATARI = (
    *PONG,
    "env.game=breakout",
    "env.num_threads=1",
    "total_agent_steps=400",
    "replay.capacity=260",
    "evaluation.period_agent_steps=300",
    "evaluation.epsilon=0.5",
    "checkpoint.period_agent_steps=40",
)
RUNS = {
    "cartpole": _CARTPOLE,
    "cartpole-adam": (*_CARTPOLE, "optimizer=adam"),
    "breakout": (*_ATARI, "env.protocol=nature"),
    "minatar": (*MINATAR, "checkpoint.period_agent_steps=40"),
    "breakout-sticky": (*_ATARI, "env.protocol=machado", "replay=compressed"),
}
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
MAX_SECONDS = 300


@dataclass
class Attempt:
    """One process of one run."""

    status: int
    output: str


@dataclass
class Run:
    """A run that is being tortured."""

    name: str
    directory: Path
    faults: list[str] = field(default_factory=list)
    # Content that a fault of its own has made incomparable, and why that is no loss of training.
    spared: set[str] = field(default_factory=set)


def start(run: Run, prepare: Callable[[], None] = lambda: None) -> tuple[int, Path]:
    """Fork a process that gives the run's command; its id, and where it writes."""
    run.directory.parent.mkdir(parents=True, exist_ok=True)
    output = Path(tempfile.gettempdir()) / f"torture-output-{os.getpid()}"
    process = os.fork()
    if process:
        return process, output
    status = 1
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["dqn-train", *RUNS[run.name], f"run_dir={run.directory}"]
        prepare()
        train.main()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(started: tuple[int, Path]) -> Attempt:
    """The end of a process; one that hangs is a failure."""
    process, output = started
    deadline = time.monotonic() + MAX_SECONDS
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return Attempt(code, output.read_text(errors="replace") if output.exists() else "")
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return Attempt(-1, "hung")
        time.sleep(0.002)


def send(process: int, number: int) -> None:
    """To a child that has not been waited for: it exists, if only as what is left of it."""
    os.kill(process, number)
