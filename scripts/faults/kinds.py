"""What is done to a run: its process ended, its files damaged, its disk taken away."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from faults.processes import STOP_SIGNALS, Attempt, Run, send, start, wait

from dqn.run_format import (
    BEST_WEIGHTS_FILE,
    CHECKPOINTS_DIRECTORY,
    CONFIG_FILE,
    EVALUATIONS_FILE,
    METRICS_FILE,
)


def kill_any_time(run: Run, generator: random.Random, seconds: float) -> Attempt:
    """SIGKILL after a random time."""
    started = start(run)
    time.sleep(generator.uniform(0, seconds))
    send(started[0], signal.SIGKILL)
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
    send(started[0], generator.choice(STOP_SIGNALS))
    return wait(started)


def interrupt_twice(run: Run, generator: random.Random, seconds: float) -> Attempt:
    """Ctrl-C, and again before it has stopped."""
    started = start(run)
    time.sleep(generator.uniform(0, seconds))
    send(started[0], signal.SIGINT)
    time.sleep(generator.uniform(0, 0.05))
    send(started[0], signal.SIGINT)
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
    names = [METRICS_FILE, EVALUATIONS_FILE]
    files = [run.directory / name for name in names if (run.directory / name).exists()]
    files = [file for file in files if file.stat().st_size]
    if not files or not _checkpoints(run):
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
    checkpoints = _checkpoints(run)
    if len(checkpoints) < 2:
        return None
    victim = generator.choice([*checkpoints, checkpoints[-1], run.directory])
    if victim == run.directory:
        best_weights = run.directory / CHECKPOINTS_DIRECTORY / BEST_WEIGHTS_FILE
        files = [run.directory / CONFIG_FILE, best_weights]
        files = [file for file in files if file.exists()]
    else:
        files = [file for file in victim.rglob("*") if file.is_file()]
    return generator.choice(files) if files else None


def _checkpoints(run: Run) -> list[Path]:
    return sorted((run.directory / CHECKPOINTS_DIRECTORY).glob("agent_step_*"))


def _overwrite(file: Path, data: bytes) -> None:
    """In place: a file that two checkpoints shared would be damaged in both."""
    with open(file, "r+b") as opened:
        opened.write(data)
        opened.truncate(len(data))


def _train_a_while(run: Run, generator: random.Random, seconds: float) -> None:
    """Make something to damage; this is no fault yet."""
    started = start(run)
    time.sleep(generator.uniform(0.3, 0.8) * seconds)
    send(started[0], signal.SIGTERM)
    wait(started)
