"""One training run from its directory's point of view: start, continue or refuse, and finish."""

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch

from dqn.agent import DQN, NonFiniteError
from dqn.checkpoint import Checkpoint
from dqn.config import TrainConfig
from dqn.run import assembly, games
from dqn.run.directory import (
    CHANGEABLE_KEYS,
    begin_to_write,
    is_directory,
    lock_run,
    note_provenance,
    refuse_other_run,
    unusable_directory,
    write_config,
)
from dqn.run.seeding import Seeds, derive_seeds, seed_everything
from dqn.run.state import (
    best_of,
    explain_nonfinite,
    is_finished,
    is_saved,
    is_solved,
    keep_best,
    load_replay,
    load_run,
    newest_checkpoint,
    provenance_of,
    save_run,
)
from dqn.run_format import EVALUATIONS_FILE, VIDEOS_DIRECTORY
from dqn.saved_config import CHOICE_KEYS, flatten
from dqn.system.exit_status import FAILED_STATUS
from dqn.system.locking import RunLock
from dqn.system.process import prepare_process
from dqn.system.stopping import StopRequest
from dqn.training.parts import Hooks
from dqn.training.progress import Progress
from dqn.training.telemetry import HyperparameterValue, Telemetry, TelemetryPosition
from dqn.training.trainer import Trainer


def train(config: TrainConfig, *, label: str) -> float:
    """Train as configured in ``config.run_dir``, going on where an earlier run stood.

    Args:
        config: validated.
        label: what progress lines call the run.

    Returns:
        Mean return of the last evaluation.

    Raises:
        ConfigError: bad input, or another process at work there; nothing was overwritten.
        SystemExit: stopped by a signal, with 128 + its number after a checkpoint was saved; with 1
            where none could be, or where the loss became infinite or NaN.
    """
    run_dir = Path(config.run_dir)
    device = assembly.resolve_device(config.device)
    lock = RunLock(run_dir)
    try:
        if is_directory(run_dir):
            lock_run(lock, run_dir)
        return _train_alone(config, run_dir, lock, device, label)
    finally:
        lock.release()


def _train_alone(
    config: TrainConfig, run_dir: Path, lock: RunLock, device: torch.device, label: str
) -> float:
    saved = None if config.overwrite else newest_checkpoint(run_dir)
    if not config.overwrite:
        refuse_other_run(run_dir, config, saved)
    if saved is not None and is_finished(saved, config):
        _say_finished(saved, config, run_dir, label)
        return _last_return_mean(run_dir)
    prepare_process(num_threads=config.num_threads, precision=config.precision)
    seed_everything(config.seed)
    seeds = derive_seeds(config.seed)
    parts = assembly.assemble(config, seeds=seeds, device=device)
    try:
        if saved is not None:
            load_replay(saved, config, parts.agent, parts.replay)
        # From here on nothing is refused, so the directory may be written to.
        begin_to_write(config, run_dir, lock, saved)
        with (
            StopRequest() as stop,
            _progress(config, saved, label) as progress,
            _open_telemetry(run_dir, parts.environment.frame_skip, saved) as telemetry,
        ):
            hooks = _hooks(config, run_dir, parts.agent, seeds, telemetry, stop)
            trainer = assembly.build_trainer(
                config, parts, hooks, telemetry=telemetry, progress=progress
            )
            _begin_or_continue(trainer, config, run_dir, saved, telemetry, progress)
            try:
                _run_to_the_end(trainer, run_dir, config, seeds, progress, stop)
            except NonFiniteError as error:
                explain_nonfinite(error, run_dir, trainer)
                sys.exit(FAILED_STATUS)
    finally:
        parts.environment.close()
    return _last_return_mean(run_dir)


def _hooks(
    config: TrainConfig,
    run_dir: Path,
    agent: DQN,
    seeds: Seeds,
    telemetry: Telemetry,
    stop: StopRequest,
) -> Hooks:
    """What the training loop asks of this run."""
    return Hooks(
        evaluate=lambda: games.evaluate_agent(config, agent, seeds=seeds, should_stop=stop.is_set),
        save=lambda trainer: save_run(config, run_dir, trainer, telemetry),
        keep_best=lambda trainer: keep_best(run_dir, trainer.best),
        should_stop=stop.is_set,
    )


def _begin_or_continue(
    trainer: Trainer,
    config: TrainConfig,
    run_dir: Path,
    saved: Checkpoint | None,
    telemetry: Telemetry,
    progress: Progress,
) -> None:
    """Describe a new run to TensorBoard, or bring the trainer to where the checkpoint stood."""
    facts = provenance_of(config, trainer.agent)
    if saved is None:
        telemetry.write_hyperparameters(_hyperparameters(config))
        telemetry.write_layout([name for name, _ in trainer.agent.network.named_parameters()])
    else:
        load_run(saved, config, trainer, progress)
        saved.state.clear()
    note_provenance(run_dir, 0 if saved is None else saved.agent_steps, facts)


def _progress(config: TrainConfig, saved: Checkpoint | None, label: str) -> Progress:
    return Progress(
        total_agent_steps=config.total_agent_steps,
        agent_steps=0 if saved is None else saved.agent_steps,
        label=label,
    )


def _open_telemetry(run_dir: Path, frame_skip: int, saved: Checkpoint | None) -> Telemetry:
    position = None if saved is None else cast(TelemetryPosition, saved.state["telemetry"])
    try:
        return Telemetry(run_dir, frame_skip=frame_skip, position=position)
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


def _run_to_the_end(
    trainer: Trainer,
    run_dir: Path,
    config: TrainConfig,
    seeds: Seeds,
    progress: Progress,
    stop: StopRequest,
) -> None:
    """Train what is left to train, and say how it ended.

    Raises:
        NonFiniteError: the loss or a parameter became infinite or NaN.
        SystemExit: stopped, with 128 + the signal's number if a checkpoint was saved, else 1.
    """
    if trainer.run():
        _record_video(run_dir, config, trainer, progress, seeds, stop)
        progress.note(f"finished {trainer.agent_steps:,} steps; results in {run_dir}")
    elif is_saved(run_dir, trainer):
        progress.note(
            f"stopped at {trainer.agent_steps:,} steps, saved in {run_dir}; "
            "the same command goes on"
        )
        stop.forward()
        sys.exit(stop.exit_status)
    else:
        progress.note(f"stopped at {trainer.agent_steps:,} steps, which are not saved")
        sys.exit(FAILED_STATUS)


def _say_finished(saved: Checkpoint, config: TrainConfig, run_dir: Path, label: str) -> None:
    """Nothing is left to do; a damaged configuration or file of best weights is mended."""
    write_config(run_dir, config)
    keep_best(run_dir, best_of(saved))
    more = "" if is_solved(saved) else "raise total_agent_steps to go on, or "
    print(
        f"{label}: already finished at {saved.agent_steps:,} steps in {config.run_dir}; "
        f"{more}overwrite=true to start anew",
        file=sys.stderr,
    )


def _record_video(
    run_dir: Path,
    config: TrainConfig,
    trainer: Trainer,
    progress: Progress,
    seeds: Seeds,
    stop: StopRequest,
) -> None:
    """One game of the final policy; a missing renderer costs the video, not the run."""
    if not config.evaluation.video:
        return
    path = run_dir / VIDEOS_DIRECTORY / f"agent_step_{trainer.agent_steps:012d}.webp"
    try:
        recording = games.record_video(
            config, trainer.agent, path, seeds=seeds, should_stop=stop.is_set
        )
    except (ImportError, OSError) as error:
        progress.note(f"no video: {error}")
    else:
        if recording is None:
            progress.note("no video: stopped while it was made; the run itself is finished")
        else:
            progress.note(f"video of a game of {recording.episode_return:.0f} points: {path}")


def _hyperparameters(config: TrainConfig) -> dict[str, HyperparameterValue]:
    """The configuration as TensorBoard's HPARAMS page takes it."""
    return {
        key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for key, value in flatten(asdict(config)).items()
        if key not in CHANGEABLE_KEYS or key in CHOICE_KEYS
    }


def _last_return_mean(run_dir: Path) -> float:
    """What a sweep optimises; NaN where a full disk has lost the evaluations."""
    lines = (run_dir / EVALUATIONS_FILE).read_text(encoding="utf-8").splitlines()
    return float(json.loads(lines[-1])["return_mean"]) if lines else math.nan
