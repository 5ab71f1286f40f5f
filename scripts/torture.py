"""Tries to lose a run: kills, signals, flipped bits, full disks, and the end compared bit for bit.

    python scripts/torture.py                 # 200 faults, about 25 minutes of one core
    python scripts/torture.py --faults 12 --runs cartpole breakout-sticky   # as `make test` does
    python scripts/torture.py --json FILE     # the table as JSON

Small runs of CartPole and Breakout (sticky and not) are trained once without a fault. Then each is
trained again and again from nothing, with faults: the process is ended or its files are damaged,
the same command is given again, until the run is finished. It must then be the undisturbed run in
every bit: weights, optimizer, replay, games, generators, metrics, evaluations and TensorBoard's
scalars, clocks aside.

The processes are real, forked from one that has imported PyTorch already; SIGKILL is the kernel's.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from same_runs import content, differences  # noqa: E402
from tiny_runs import CARTPOLE, PONG  # noqa: E402

from dqn import run_state, train  # noqa: E402, F401 (imported before the processes are forked)
from dqn.environments import action_log  # noqa: E402

_CARTPOLE = (*CARTPOLE, "total_agent_steps=600", "checkpoint.period_agent_steps=40")
# A game of Breakout half at random is some 200 decisions. One of Pong is a thousand, and Breakout
# played by an untrained network, which never serves, is only ended by the clock.
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
    "breakout-sticky": (*_ATARI, "env.protocol=machado", "replay=compressed"),
}
# So that the short games of a torture see new seeds too.
SEEDING_PERIOD_AGENT_STEPS = 60
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
# A run that has had this many faults is left alone until it is finished.
MAX_FAULTS_PER_RUN = 8
MAX_SECONDS = 300
SMALL_DISK_BYTES = 64 * 2**20


@dataclass
class Attempt:
    """One process of one run."""

    status: int
    output: str


@dataclass
class Tally:
    """What became of the faults of one kind."""

    tried: int = 0
    survived: int = 0
    lost: int = 0
    differing: int = 0


@dataclass
class Run:
    """A run that is being tortured."""

    name: str
    directory: Path
    faults: list[str] = field(default_factory=list)
    # Content that a fault of its own has made incomparable, and why that is no loss of training.
    spared: set[str] = field(default_factory=set)


def main() -> None:
    """Torture, print the table, and exit with status 1 if anything was lost or differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
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
                subprocess.run(["umount", disk], check=False)
    report(tallies, num_runs, time.monotonic() - started)
    if arguments.json:
        rows = {kind: vars(tally) for kind, tally in tallies.items()}
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    if any(tally.lost or tally.differing for tally in tallies.values()):
        sys.exit(1)


def torture(
    directory: Path, disk: Path | None, arguments: argparse.Namespace
) -> tuple[dict[str, Tally], int]:
    """Run after run with faults, until there have been enough of them."""
    generator = random.Random(arguments.seed)
    num_faults: int = arguments.faults
    action_log.SEEDING_PERIOD_AGENT_STEPS = SEEDING_PERIOD_AGENT_STEPS
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


def kill_any_time(run: Run, generator: random.Random, seconds: float) -> Attempt:
    """SIGKILL after a random time."""
    started = start(run)
    time.sleep(generator.uniform(0, seconds))
    _send(started[0], signal.SIGKILL)
    return wait(started)


def kill_while_saving(run: Run, generator: random.Random, seconds: float) -> Attempt:
    """SIGKILL at a random one of the system calls that write checkpoints, a write half done."""
    # A save makes some fifty of these calls.
    fatal = generator.randrange(1, 400)

    def prepare() -> None:
        count = 0
        for name in ("write", "pwrite", "fsync", "replace", "link", "mkdir", "rmdir", "unlink"):
            original = getattr(os, name)

            def call(*arguments, original=original, name=name, **keywords):
                nonlocal count
                count += 1
                if count == fatal:
                    if name in ("write", "pwrite"):
                        descriptor, data, *rest = arguments
                        original(descriptor, memoryview(data)[: len(data) // 2], *rest)
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **keywords)

            setattr(os, name, call)

    return wait(start(run, prepare))


def stop_by_signal(run: Run, generator: random.Random, seconds: float) -> Attempt:
    """One of the four signals, which asks for a checkpoint."""
    started = start(run)
    time.sleep(generator.uniform(0, seconds))
    _send(started[0], generator.choice(STOP_SIGNALS))
    return wait(started)


def interrupt_twice(run: Run, generator: random.Random, seconds: float) -> Attempt:
    """Ctrl-C, and again before it has stopped."""
    started = start(run)
    time.sleep(generator.uniform(0, seconds))
    _send(started[0], signal.SIGINT)
    time.sleep(generator.uniform(0, 0.05))
    _send(started[0], signal.SIGINT)
    return wait(started)


def flip_bit(run: Run, generator: random.Random, seconds: float) -> Attempt | None:
    """One bit of one file of a checkpoint, of the best weights or of config.yaml."""
    file = _victim(run, generator)
    if file is None:
        return _train_a_while(run, generator, seconds)
    data = bytearray(file.read_bytes())
    if not data:
        return None
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    _overwrite(file, data)
    return wait(start(run))


def cut_file(run: Run, generator: random.Random, seconds: float) -> Attempt | None:
    """One of those files loses its end."""
    file = _victim(run, generator)
    if file is None:
        return _train_a_while(run, generator, seconds)
    data = file.read_bytes()
    _overwrite(file, data[: generator.randrange(len(data) + 1)])
    return wait(start(run))


def remove_file(run: Run, generator: random.Random, seconds: float) -> Attempt | None:
    """One of those files is gone."""
    file = _victim(run, generator)
    if file is None:
        return _train_a_while(run, generator, seconds)
    file.unlink()
    return wait(start(run))


def flip_log_bit(run: Run, generator: random.Random, seconds: float) -> Attempt | None:
    """One bit of a log: nothing can bring it back, but it is told of and training is not hurt."""
    names = ["metrics.jsonl", "evaluations.jsonl"]
    files = [run.directory / name for name in names if (run.directory / name).exists()]
    files = [file for file in files if file.stat().st_size]
    if not files or not list((run.directory / "checkpoints").glob("agent_step_*")):
        return _train_a_while(run, generator, seconds)
    file = generator.choice(files)
    data = bytearray(file.read_bytes())
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(7)
    file.write_bytes(data)
    run.spared |= {"metrics", "evaluations"}
    return wait(start(run))


def fail_writes(run: Run, generator: random.Random, seconds: float) -> Attempt:
    """The system refuses some calls that write, as a full or failing disk does, then none."""
    first = generator.randrange(1, 300)
    last = first + generator.randrange(1, 120)
    error = generator.choice([28, 5, 122])  # ENOSPC, EIO, EDQUOT

    def prepare() -> None:
        count = 0
        for name in ("write", "pwrite", "fsync", "link"):
            original = getattr(os, name)

            def call(*arguments, original=original, **keywords):
                nonlocal count
                count += 1
                if first <= count <= last:
                    raise OSError(error, os.strerror(error))
                return original(*arguments, **keywords)

            setattr(os, name, call)

    attempt = wait(start(run, prepare))
    if attempt.status in (1, 2):  # It could not even begin, or could not save when it was stopped.
        return Attempt(-1, attempt.output)
    return attempt


def fill_disk(run: Run, generator: random.Random, seconds: float) -> Attempt:
    """A small file system is filled to its last byte, then has room again."""
    run.spared.add("tensorboard")  # It has no record of what was logged while there was no room.
    filler = run.directory.parent / "filler"
    started = start(run)
    time.sleep(generator.uniform(0.1, 0.6) * seconds)
    with open(filler, "wb") as file:
        try:
            while True:
                file.write(b"\0" * 2**16)
                file.flush()
        except OSError:
            pass
    time.sleep(generator.uniform(0.1, 0.4) * seconds)
    filler.unlink()
    return wait(started)


FAULTS: dict[str, Callable[[Run, random.Random, float], Attempt | None]] = {
    "SIGKILL at any time": kill_any_time,
    "SIGKILL within a checkpoint's write": kill_while_saving,
    "SIGINT, SIGTERM, SIGUSR1, SIGUSR2": stop_by_signal,
    "two SIGINT": interrupt_twice,
    "bit flipped in a checkpoint": flip_bit,
    "file of a checkpoint cut short": cut_file,
    "file of a checkpoint removed": remove_file,
    "bit flipped in a log": flip_log_bit,
    "writes refused for a while": fail_writes,
    "disk full": fill_disk,
}


# A process that has come to its end before one of these was not hurt by it.
ENDING_KINDS = frozenset(list(FAULTS)[:4])


def _victim(run: Run, generator: random.Random) -> Path | None:
    """A file to damage, where two checkpoints stand that damage one at a time cannot take."""
    checkpoints = sorted((run.directory / "checkpoints").glob("agent_step_*"))
    if len(checkpoints) < 2:
        return None
    victim = generator.choice([*checkpoints, checkpoints[-1], run.directory])
    if victim == run.directory:
        files = [run.directory / "config.yaml", run.directory / "checkpoints/best.safetensors"]
        files = [file for file in files if file.exists()]
    else:
        files = [file for file in victim.rglob("*") if file.is_file()]
    return generator.choice(files) if files else None


def _overwrite(file: Path, data: bytes) -> None:
    """In place: a file that two checkpoints shared would be damaged in both."""
    with open(file, "r+b") as opened:
        opened.write(data)
        opened.truncate(len(data))


def _train_a_while(run: Run, generator: random.Random, seconds: float) -> None:
    """Make something to damage; this is no fault yet."""
    started = start(run)
    time.sleep(generator.uniform(0.3, 0.8) * seconds)
    _send(started[0], signal.SIGTERM)
    wait(started)


def _send(process: int, number: int) -> None:
    """To a child that has not been waited for: it exists, if only as what is left of it."""
    os.kill(process, number)


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
