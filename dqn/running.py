"""One training run from its directory's point of view: start, continue or refuse, and finish."""

import json
import math
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from dqn import assembly, checkpoint
from dqn.agent import DQN, NonFiniteError
from dqn.checkpoint import Checkpoint, CheckpointError
from dqn.config import ConfigError, TrainConfig, flatten, load_config, save_config
from dqn.locking import LockedError, RunLock
from dqn.nonfinite import first_nonfinite, write_dump
from dqn.progress import Progress
from dqn.replay import UniformReplay
from dqn.seeding import (
    GeneratorState,
    Seeds,
    derive_seeds,
    generator_state,
    load_generator_state,
    seed_everything,
)
from dqn.stopping import StopRequest
from dqn.telemetry import EVALUATIONS_FILE, METRICS_FILE, HyperparameterValue, Telemetry
from dqn.training import GamesError, Trainer, TrainerState
from rmsprop import effective_learning_rate_summaries

CONFIG_FILE = "config.yaml"

# A run goes on under these changes; any other makes it another run.
CHANGEABLE_KEYS = frozenset(
    {
        "checkpoint.period_agent_steps",
        "device",
        "env.num_threads",
        "num_threads",
        "overwrite",
        "run_dir",
        "total_agent_steps",
    }
)


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
    assembly.check_environment(config.env)
    device = assembly.resolve_device(config.device)
    lock = RunLock(run_dir)
    try:
        if _is_directory(run_dir):
            _lock(lock, run_dir)
        return _train_alone(config, run_dir, lock, device, label)
    finally:
        lock.release()


def _train_alone(
    config: TrainConfig, run_dir: Path, lock: RunLock, device: torch.device, label: str
) -> float:
    saved = None if config.overwrite else _newest_checkpoint(run_dir)
    if not config.overwrite:
        _refuse_other_run(run_dir, config, saved)
    assembly.set_num_threads(config.num_threads)
    seed_everything(config.seed)
    seeds = derive_seeds(config.seed)
    agent_steps = 0 if saved is None else saved.agent_steps
    environment = assembly.training_environment(config, seeds=seeds)
    try:
        agent = assembly.build_agent(config, environment, seeds=seeds, device=device)
        replay = assembly.build_replay(config, environment, seed=seeds.replay, device=device)
        # Only now, when nothing of the configuration can be refused any more.
        _begin_to_write(config, run_dir, lock, saved)
        with (
            StopRequest() as stop,
            Progress(
                total_agent_steps=config.total_agent_steps, agent_steps=agent_steps, label=label
            ) as progress,
            Telemetry(
                run_dir,
                frame_skip=environment.frame_skip,
                position=None if saved is None else cast(Any, saved.state["telemetry"]),
            ) as telemetry,
        ):
            trainer = Trainer(
                environment=environment,
                agent=agent,
                replay=replay,
                behaviour_epsilon=assembly.build_behaviour_epsilon(config),
                learning_rate_factor=assembly.build_learning_rate_factor(config),
                plan=assembly.build_plan(config),
                evaluate=lambda: assembly.evaluate_agent(
                    config, agent, seeds=seeds, should_stop=stop.is_set
                ),
                diagnose=effective_learning_rate_summaries,
                telemetry=telemetry,
                progress=progress,
                save=lambda trainer: _save(config, run_dir, trainer, telemetry),
                keep_best=lambda trainer: _keep_best(run_dir, trainer),
                should_stop=stop.is_set,
                log_histograms=config.logging.histograms,
                concurrent=config.concurrent,
            )
            if saved is None:
                telemetry.write_hyperparameters(_hyperparameters(config))
                telemetry.write_layout([name for name, _ in agent.network.named_parameters()])
            else:
                _load(saved, config, trainer, replay, progress)
                saved.state.clear()
            try:
                _run_to_the_end(trainer, run_dir, config, seeds, progress, stop)
            except NonFiniteError as error:
                _explain_nonfinite(error, run_dir, trainer)
                sys.exit(1)
    finally:
        environment.close()
    return _last_return_mean(run_dir)


def _is_directory(run_dir: Path) -> bool:
    try:
        return run_dir.is_dir()
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


def _lock(lock: RunLock, run_dir: Path) -> None:
    try:
        lock.acquire()
    except LockedError as error:
        raise ConfigError(
            f"run_dir={run_dir}: {error}; wait for it, or give another run_dir="
        ) from error
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


def _begin_to_write(
    config: TrainConfig, run_dir: Path, lock: RunLock, saved: Checkpoint | None
) -> None:
    """Make the directory this run's: from here on it is written to."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error
    if not lock.is_held:
        _lock(lock, run_dir)
        if holds_run(run_dir):
            raise ConfigError(
                f"run_dir={run_dir}: another process has begun a run there in this moment; "
                "the same command goes on with it"
            )
    # Without a checkpoint an earlier run's metrics (killed before its first) begin again too.
    if saved is None:
        _remove_run(run_dir)
    else:
        checkpoint.set_aside_after(assembly.checkpoint_directory(run_dir), saved.path)
    _write_config(run_dir, config)


def _load(
    saved: Checkpoint,
    config: TrainConfig,
    trainer: Trainer,
    replay: UniformReplay,
    progress: Progress,
) -> None:
    """Bring everything to where the checkpoint stood."""
    state = saved.state
    loop = cast(dict[str, object], state["trainer"])
    parts = {key: state[key] for key in ("agent", "replay", "environment")}
    games_error: GamesError | None = None
    try:
        try:
            trainer.load_state_dict(cast(TrainerState, {**loop, **parts}))
        except GamesError as error:
            games_error = error
        saved.load_frames(replay)
    except (CheckpointError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"run_dir={config.run_dir}: its checkpoint {saved.path.name} is not one of this "
            f"configuration ({' '.join(str(error).split())}); "
            "give another run_dir=, or overwrite=true to start anew"
        ) from error
    load_generator_state(cast(GeneratorState, state["generators"]))
    if games_error is not None:
        progress.note(f"new games begin, so that results will differ: {games_error}")
    now = _software(config, trainer.agent)
    then = cast(Mapping[str, object], state["software"])
    changed = [f"{key} {then.get(key)} -> {now[key]}" for key in now if now[key] != then.get(key)]
    if changed:
        progress.note(f"the last bits of results may differ from now on: {', '.join(changed)}")


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
    if trainer.is_finished:
        more = "" if trainer.is_solved else "raise total_agent_steps to go on, or "
        progress.note(
            f"already finished at {trainer.agent_steps:,} steps in {run_dir}; "
            f"{more}overwrite=true to start anew"
        )
    elif trainer.run():
        _record_video(run_dir, config, trainer, progress, seeds, stop)
        progress.note(f"finished {trainer.agent_steps:,} steps; results in {run_dir}")
    elif _is_saved(run_dir, trainer):
        progress.note(
            f"stopped at {trainer.agent_steps:,} steps, saved in {run_dir}; "
            "the same command goes on"
        )
        stop.forward()
        sys.exit(stop.exit_status)
    else:
        progress.note(f"stopped at {trainer.agent_steps:,} steps, which are not saved")
        sys.exit(1)


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
    path = run_dir / "videos" / f"agent_step_{trainer.agent_steps:012d}.webp"
    try:
        recording = assembly.record_video(
            config, trainer.agent, path, seeds=seeds, should_stop=stop.is_set
        )
    except (ImportError, OSError) as error:
        progress.note(f"no video: {error}")
    else:
        if recording is None:
            progress.note("no video: stopped while it was made; the run itself is finished")
        else:
            progress.note(f"video of a game of {recording.episode_return:.0f} points: {path}")


def _save(config: TrainConfig, run_dir: Path, trainer: Trainer, telemetry: Telemetry) -> bool:
    """Write a checkpoint; False, with a warning, where the system refuses."""
    for name, parameter in trainer.agent.network.named_parameters():
        if not parameter.isfinite().all():
            raise NonFiniteError(f"parameter {name} is infinite or NaN", None)
    # Flushed first, so that what the checkpoint remembers is on disk in the logs too.
    telemetry.flush()
    loop = cast(dict[str, object], trainer.state_dict())
    replay = cast(dict[str, object], loop.pop("replay"))
    try:
        checkpoint.save(
            assembly.checkpoint_directory(run_dir),
            trainer.agent_steps,
            {
                "agent": loop.pop("agent"),
                "environment": loop.pop("environment"),
                "replay": replay,
                "trainer": loop,
                "generators": generator_state(),
                "telemetry": telemetry.position(trainer.agent_steps),
                "config": flatten(asdict(config)),
                "software": _software(config, trainer.agent),
            },
            trainer.replay,
        )
    except OSError as error:
        print(
            f"warning: no checkpoint was written, training goes on and will try again: {error}",
            file=sys.stderr,
        )
        return False
    return True


def _keep_best(run_dir: Path, trainer: Trainer) -> None:
    assert trainer.best is not None
    try:
        checkpoint.save_weights(
            assembly.best_weights_path(run_dir),
            trainer.agent.network.state_dict(),
            trainer.best._asdict(),
        )
    except OSError as error:
        print(f"warning: the best weights were not written: {error}", file=sys.stderr)


def _explain_nonfinite(error: NonFiniteError, run_dir: Path, trainer: Trainer) -> None:
    """One line: where it began, what was kept, and what one may do."""
    update = trainer.agent.num_updates + 1
    path = run_dir / "nonfinite" / f"update_{update:012d}.pt"
    where = first_nonfinite(trainer.agent, error.batch)
    try:
        write_dump(path, trainer.agent, error.batch, str(error))
        kept = f"batch and weights in {path}"
    except OSError as refused:
        kept = f"batch and weights could not be kept ({refused})"
    saved = checkpoint.available(assembly.checkpoint_directory(run_dir))
    last = f"last good checkpoint {saved[-1]}" if saved else "no checkpoint yet"
    print(
        f"error: {error} at update {update} (step {trainer.agent_steps}); first not finite: "
        f"{where}; {kept}; {last}; a smaller optimizer.lr or a larger optimizer.eps may help",
        file=sys.stderr,
    )


def _software(config: TrainConfig, agent: DQN) -> dict[str, str]:
    """What the last bits of a result depend on beside the configuration."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "ale-py", "gymnasium")},
        "machine": platform.machine(),
        "device": str(agent.device),
        "num_threads": str(config.num_threads),
    }


def _is_saved(run_dir: Path, trainer: Trainer) -> bool:
    directory = assembly.checkpoint_directory(run_dir)
    return checkpoint.path_at(directory, trainer.agent_steps) in checkpoint.available(directory)


def _newest_checkpoint(run_dir: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read, with a warning for each that cannot.

    Returns:
        None where there is no checkpoint at all.

    Raises:
        ConfigError: there are some and none can be read: to lose them is not ours to decide.
    """
    directory = assembly.checkpoint_directory(run_dir)
    try:
        if directory.is_dir():
            checkpoint.sweep(directory)
        return checkpoint.load_newest(directory)
    except CheckpointError as error:
        raise ConfigError(
            f"run_dir={run_dir}: none of its checkpoints can be read ({error}); "
            "give another run_dir=, or overwrite=true to start anew"
        ) from error
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


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
    """What to answer where the system refuses a directory."""
    return ConfigError(
        f"{key}={directory}: must be a directory that can be written ({error.strerror})"
    )


def _refuse_other_run(run_dir: Path, config: TrainConfig, saved: Checkpoint | None) -> None:
    """A directory continues the run it holds; a changed configuration is another run.

    A checkpoint knows its configuration, under its checksum; only without one does the file count.
    """
    if saved is not None:
        held = cast(dict[str, object], saved.state["config"])
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


def _write_config(run_dir: Path, config: TrainConfig) -> None:
    try:
        save_config(config, run_dir / CONFIG_FILE)
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


def _remove_run(run_dir: Path) -> None:
    """Remove what a run writes and nothing else that may lie in its directory."""
    if holds_run(run_dir):
        for name in ("checkpoints", "nonfinite", "videos"):
            shutil.rmtree(run_dir / name, ignore_errors=True)
        names = [CONFIG_FILE, METRICS_FILE, EVALUATIONS_FILE]
        for path in [*(run_dir / name for name in names), *run_dir.glob("events.out.tfevents.*")]:
            path.unlink(missing_ok=True)


def _hyperparameters(config: TrainConfig) -> dict[str, HyperparameterValue]:
    """The configuration as TensorBoard's HPARAMS page takes it."""
    return {
        key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for key, value in flatten(asdict(config)).items()
        if key not in CHANGEABLE_KEYS
    }


def _last_return_mean(run_dir: Path) -> float:
    """What a sweep optimises; NaN where a full disk has lost the evaluations."""
    lines = (run_dir / EVALUATIONS_FILE).read_text(encoding="utf-8").splitlines()
    return float(json.loads(lines[-1])["return_mean"]) if lines else math.nan
