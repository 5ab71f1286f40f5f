"""A run's directory: whose it is, what it holds, and what is refused before it is touched."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

from dqn import checkpoint
from dqn.checkpoint import Checkpoint
from dqn.config import (
    ConfigError,
    TrainConfig,
    load_config,
    save_config,
)
from dqn.run.provenance import append_provenance
from dqn.run_format import (
    BEST_WEIGHTS_FILE,
    CHECKPOINTS_DIRECTORY,
    CONFIG_FILE,
    EVALUATIONS_FILE,
    EVENT_FILES,
    METRICS_FILE,
    NONFINITE_DIRECTORY,
    PROVENANCE_FILE,
    VIDEOS_DIRECTORY,
)
from dqn.saved_config import CHOICE_KEYS, flatten, upgrade
from dqn.system.locking import LockedError, RunLock

# These keys may change when a run is continued. Any other change makes it another run.
CHANGEABLE_KEYS = frozenset(
    {
        *CHOICE_KEYS,
        "checkpoint.period_agent_steps",
        "device",
        "env.num_threads",
        "num_threads",
        "overwrite",
        "run_dir",
        "total_agent_steps",
    }
)


def checkpoint_directory(run_dir: Path) -> Path:
    """Where a run keeps its checkpoints."""
    return run_dir / CHECKPOINTS_DIRECTORY


def best_weights_path(run_dir: Path) -> Path:
    """Where a run keeps the weights of its best evaluation."""
    return checkpoint_directory(run_dir) / BEST_WEIGHTS_FILE


def holds_run(run_dir: Path) -> bool:
    """Whether ``dqn-train`` has written to this directory.

    Raises:
        ConfigError: the path cannot even be looked up.
    """
    try:
        return (run_dir / CONFIG_FILE).exists()
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


def unusable_directory(key: str, directory: Path, error: OSError) -> ConfigError:
    """The error that answers a directory which the system refuses."""
    return ConfigError(
        f"{key}={directory}: must be a directory that can be written ({error.strerror})"
    )


def is_directory(run_dir: Path) -> bool:
    """Whether the directory is there.

    Raises:
        ConfigError: the path cannot even be looked up.
    """
    try:
        return run_dir.is_dir()
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


def lock_run(lock: RunLock, run_dir: Path) -> None:
    """Take the run for this process.

    Raises:
        ConfigError: another has it, or the directory refuses a lock.
    """
    try:
        lock.acquire()
    except LockedError as error:
        raise ConfigError(
            f"run_dir={run_dir}: {error}; wait for it, or give another run_dir="
        ) from error
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


def refuse_other_run(run_dir: Path, config: TrainConfig, saved: Checkpoint | None) -> None:
    """A directory continues the run it holds; a changed configuration is another run.

    The checkpoint's own configuration counts, since a checksum covers it. ``config.yaml`` counts
    only where there is no checkpoint.

    Raises:
        ConfigError: naming the first key that differs.
    """
    if saved is not None:
        held = upgrade(cast(dict[str, object], saved.state["config"]))
    elif holds_run(run_dir):
        try:
            held = flatten(load_config(run_dir / CONFIG_FILE))
        except ConfigError as error:
            raise ConfigError(
                f"run_dir={run_dir}: {error}; give another run_dir= or overwrite=true"
            ) from error
    else:
        return
    asked = flatten(asdict(config))
    changed = [
        key
        for key in sorted(held.keys() | asked.keys())
        if key not in CHANGEABLE_KEYS and held.get(key) != asked.get(key)
    ]
    if changed:
        key = changed[0]
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise ConfigError(
            f"{key}={asked.get(key)}: {run_dir} holds a run with {key}={held.get(key)}{more}; "
            "give another run_dir=, or overwrite=true to start anew"
        )


def begin_to_write(
    config: TrainConfig, run_dir: Path, lock: RunLock, saved: Checkpoint | None
) -> None:
    """Make the directory this run's: from here on it is written to.

    Raises:
        ConfigError: it cannot be made, or another process was faster.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error
    if not lock.is_held:
        lock_run(lock, run_dir)
        if holds_run(run_dir):
            raise ConfigError(
                f"run_dir={run_dir}: another process has begun a run there in this moment; "
                "the same command goes on with it"
            )
    # A run that was killed before its first checkpoint begins again, and its metrics with it.
    if saved is None:
        _remove_run(run_dir)
    else:
        checkpoint.set_aside_after(checkpoint_directory(run_dir), saved.path)
    write_config(run_dir, config)


def note_provenance(run_dir: Path, agent_steps: int, facts: Mapping[str, str]) -> None:
    """Add a line to ``provenance.jsonl``: which code and machine continue the run from there.

    Raises:
        ConfigError: the system refuses it.
    """
    try:
        append_provenance(run_dir, agent_steps, facts)
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


def write_config(run_dir: Path, config: TrainConfig) -> None:
    """Write ``config.yaml`` anew, which also mends a damaged one.

    Raises:
        ConfigError: the system refuses it.
    """
    try:
        save_config(config, run_dir / CONFIG_FILE)
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


def _remove_run(run_dir: Path) -> None:
    """Remove what a run writes and nothing else that may lie in its directory."""
    if holds_run(run_dir):
        for name in (CHECKPOINTS_DIRECTORY, NONFINITE_DIRECTORY, VIDEOS_DIRECTORY):
            shutil.rmtree(run_dir / name, ignore_errors=True)
        events = run_dir.glob(EVENT_FILES)
        # config.yaml goes last: it marks the directory as a run's, so that a removal which is cut
        # short is completed the next time.
        names = [METRICS_FILE, EVALUATIONS_FILE, PROVENANCE_FILE, CONFIG_FILE]
        for path in [*events, *(run_dir / name for name in names)]:
            path.unlink(missing_ok=True)
