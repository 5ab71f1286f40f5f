"""One training run from its directory's point of view: start, continue or refuse, and finish."""

import json
import math
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import cast

from dqn import assembly, checkpoint
from dqn.config import ConfigError, TrainConfig, flatten, load_config, save_config
from dqn.progress import Progress
from dqn.seeding import Seeds, derive_seeds, seed_everything
from dqn.stopping import StopRequest
from dqn.telemetry import EVALUATIONS_FILE, METRICS_FILE, HyperparameterValue, Telemetry
from dqn.training import Trainer, TrainerState
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
        ConfigError: bad input; nothing was overwritten.
        SystemExit: stopped by a signal, with 128 + its number after a checkpoint was saved, with 1
            where none could be.
    """
    run_dir = Path(config.run_dir)
    assembly.check_environment(config.env)
    device = assembly.resolve_device(config.device)
    if not config.overwrite:
        _refuse_other_run(run_dir, config)
    assembly.set_num_threads(config.num_threads)
    seed_everything(config.seed)
    seeds = derive_seeds(config.seed)

    state = None if config.overwrite else _newest_state(run_dir)
    agent_steps = 0 if state is None else state["agent_steps"]
    environment = assembly.training_environment(config, seeds=seeds, agent_steps=agent_steps)
    try:
        agent = assembly.build_agent(config, environment, seeds=seeds, device=device)
        replay = assembly.build_replay(config, environment, seed=seeds.replay, device=device)
        # Only now, when nothing of the configuration can be refused any more. Without a checkpoint
        # an earlier run's metrics (killed before its first) begin again too.
        if state is None:
            _remove_run(run_dir)
        _write_config(run_dir, config)
        with (
            StopRequest() as stop,
            Progress(
                total_agent_steps=config.total_agent_steps, agent_steps=agent_steps, label=label
            ) as progress,
            Telemetry(
                run_dir,
                frame_skip=environment.frame_skip,
                resume_agent_steps=None if state is None else agent_steps,
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
                save=lambda trainer: _save(run_dir, trainer, telemetry),
                should_stop=stop.is_set,
                log_histograms=config.logging.histograms,
                concurrent=config.concurrent,
            )
            if state is None:
                telemetry.write_hyperparameters(_hyperparameters(config))
                telemetry.write_layout([name for name, _ in agent.network.named_parameters()])
            else:
                trainer.load_state_dict(state)
                del state  # Its replay is as large as the trainer's.
            _run_to_the_end(trainer, run_dir, config, seeds, progress, stop)
    finally:
        environment.close()
    return _last_return_mean(run_dir)


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
        SystemExit: stopped, with 128 + the signal's number if a checkpoint was saved, else 1.
    """
    if trainer.is_finished:
        more = "" if trainer.is_solved else "raise total_agent_steps to go on, or "
        progress.note(
            f"already finished at {trainer.agent_steps:,} steps in {run_dir}; "
            f"{more}overwrite=true to start anew"
        )
    elif trainer.run():
        _record_video(run_dir, config, trainer, progress, seeds)
        progress.note(f"finished {trainer.agent_steps:,} steps; results in {run_dir}")
    elif _is_saved(run_dir, trainer):
        progress.note(
            f"stopped at {trainer.agent_steps:,} steps, saved in {run_dir}; "
            "the same command goes on"
        )
        sys.exit(stop.exit_status)
    else:
        progress.note(f"stopped at {trainer.agent_steps:,} steps, which are not saved")
        sys.exit(1)


def _record_video(
    run_dir: Path, config: TrainConfig, trainer: Trainer, progress: Progress, seeds: Seeds
) -> None:
    """One game of the final policy; a missing renderer costs the video, not the run."""
    if not config.evaluation.video:
        return
    path = run_dir / "videos" / f"agent_step_{trainer.agent_steps:012d}.webp"
    try:
        recording = assembly.record_video(config, trainer.agent, path, seeds=seeds)
    except (ImportError, OSError) as error:
        progress.note(f"no video: {error}")
    else:
        progress.note(f"video of a game of {recording.episode_return:.0f} points: {path}")


def _save(run_dir: Path, trainer: Trainer, telemetry: Telemetry) -> None:
    # Flushed first, so that what the checkpoint remembers is on disk in the logs too.
    telemetry.flush()
    try:
        checkpoint.save(
            assembly.checkpoint_directory(run_dir),
            trainer.agent_steps,
            cast(dict[str, object], trainer.state_dict()),
        )
    except OSError as error:
        print(f"warning: no checkpoint was written, training goes on: {error}", file=sys.stderr)


def _is_saved(run_dir: Path, trainer: Trainer) -> bool:
    directory = assembly.checkpoint_directory(run_dir)
    return checkpoint.path_at(directory, trainer.agent_steps) in checkpoint.available(directory)


def _newest_state(run_dir: Path) -> TrainerState | None:
    """The newest checkpoint that can be read, with a warning for each that cannot.

    Returns:
        None where there is no checkpoint at all.

    Raises:
        ConfigError: there are some and none can be read: to lose them is not ours to decide.
    """
    try:
        state = checkpoint.load_newest(assembly.checkpoint_directory(run_dir))
    except checkpoint.CheckpointError as error:
        raise ConfigError(
            f"run_dir={run_dir}: none of its checkpoints can be read ({error}); "
            "give another run_dir=, or overwrite=true to start anew"
        ) from error
    return cast(TrainerState | None, state)


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


def _refuse_other_run(run_dir: Path, config: TrainConfig) -> None:
    """A directory continues the run it holds; a changed configuration is another run."""
    if not holds_run(run_dir):
        return
    try:
        saved = flatten(load_config(run_dir / CONFIG_FILE))
    except ConfigError as error:
        raise ConfigError(
            f"run_dir={run_dir}: {error}; give another run_dir= or overwrite=true"
        ) from error
    asked = flatten(asdict(config))
    changed = [
        key
        for key in sorted(saved.keys() | asked.keys())
        if key not in CHANGEABLE_KEYS and saved.get(key) != asked.get(key)
    ]
    if changed:
        key = changed[0]
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise ConfigError(
            f"{key}={asked.get(key)}: {run_dir} holds a run with {key}={saved.get(key)}{more}; "
            "give another run_dir=, or overwrite=true to start anew"
        )


def _write_config(run_dir: Path, config: TrainConfig) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        save_config(config, run_dir / CONFIG_FILE)
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


def _remove_run(run_dir: Path) -> None:
    """Remove what a run writes and nothing else that may lie in its directory."""
    if holds_run(run_dir):
        for name in ("checkpoints", "videos"):
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
