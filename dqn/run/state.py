"""What a run saves and goes on from: everything that decides its next bits."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

from dqn import checkpoint
from dqn.agent import DQN, AgentState, NonFiniteError
from dqn.checkpoint import Checkpoint, CheckpointError
from dqn.config import ConfigError, TrainConfig
from dqn.replay import Replay
from dqn.run.directory import best_weights_path, checkpoint_directory, unusable_directory
from dqn.run.provenance import provenance
from dqn.run.seeding import GeneratorState, generator_state, load_generator_state
from dqn.run_format import NONFINITE_DIRECTORY
from dqn.saved_config import flatten
from dqn.training import nonfinite
from dqn.training.parts import BestEvaluation
from dqn.training.progress import Progress
from dqn.training.telemetry import Telemetry
from dqn.training.trainer import GamesError, Trainer, TrainerState


def newest_checkpoint(run_dir: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read, with a warning for each that cannot.

    Returns:
        None where there is no checkpoint at all.

    Raises:
        ConfigError: there are some and none can be read: to lose them is not ours to decide.
    """
    directory = checkpoint_directory(run_dir)
    try:
        if directory.is_dir():
            checkpoint.tidy(directory)
        elif directory.exists():
            raise ConfigError(f"run_dir={run_dir}: {directory} must be a directory")
        return checkpoint.load_newest(directory)
    except CheckpointError as error:
        raise ConfigError(
            f"run_dir={run_dir}: none of its checkpoints can be read ({error}); "
            "give another run_dir=, or overwrite=true to start anew"
        ) from error
    except OSError as error:
        raise unusable_directory("run_dir", run_dir, error) from error


def best_of(saved: Checkpoint) -> BestEvaluation | None:
    """The best evaluation that the checkpoint knows of."""
    best = cast(TrainerState, saved.state["trainer"])["best"]
    return None if best is None else BestEvaluation(*best)


def is_solved(saved: Checkpoint) -> bool:
    """Whether an evaluation has reached the mean return that ends training."""
    return bool(cast(TrainerState, saved.state["trainer"])["is_solved"])


def is_finished(saved: Checkpoint, config: TrainConfig) -> bool:
    """Whether nothing is left to do for a run that stands there."""
    loop = cast(TrainerState, saved.state["trainer"])
    is_over = loop["is_solved"] or loop["agent_steps"] >= config.total_agent_steps
    return bool(is_over and loop["evaluated_agent_steps"] == loop["agent_steps"])


def provenance_of(config: TrainConfig, agent: DQN) -> dict[str, str]:
    """What the last bits of this process's results depend on beside the configuration."""
    return provenance(device=str(agent.device), num_threads=config.num_threads)


def load_replay(saved: Checkpoint, config: TrainConfig, agent: DQN, replay: Replay) -> None:
    """Fill the replay, and see that the rest of the checkpoint will fit; nothing is written yet.

    Raises:
        ConfigError: it is not one of this configuration, although it says so.
    """
    try:
        replay.load_state_dict(cast(dict[str, object], saved.state["replay"]))
        saved.load_frames(replay)
        agent.network.load_state_dict(cast(AgentState, saved.state["agent"])["network"])
    except (CheckpointError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise _not_of_this_configuration(saved, config, error) from error


def load_run(saved: Checkpoint, config: TrainConfig, trainer: Trainer, progress: Progress) -> None:
    """Bring everything else to where the checkpoint stood.

    Raises:
        ConfigError: it is not one of this configuration, although it says so.
    """
    state = saved.state
    loop = cast(dict[str, object], state["trainer"])
    parts = {key: state[key] for key in ("agent", "replay", "environment")}
    try:
        trainer.load_state_dict(cast(TrainerState, {**loop, **parts}))
    except GamesError as error:
        progress.note(f"new games begin, so that results will differ: {error}")
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise _not_of_this_configuration(saved, config, error) from error
    load_generator_state(cast(GeneratorState, state["generators"]))
    now = provenance_of(config, trainer.agent)
    then = cast(Mapping[str, object], state["software"])
    # A checkpoint of an earlier version may know fewer of them.
    changed = [
        f"{key} {then[key]} -> {now[key]}" for key in now if key in then and now[key] != then[key]
    ]
    if changed:
        progress.note(f"the last bits of results may differ from now on: {', '.join(changed)}")


def _not_of_this_configuration(
    saved: Checkpoint, config: TrainConfig, error: Exception
) -> ConfigError:
    return ConfigError(
        f"run_dir={config.run_dir}: its checkpoint {saved.path.name} is not one of this "
        f"configuration ({' '.join(str(error).split())}); "
        "give another run_dir=, or overwrite=true to start anew"
    )


def save_run(config: TrainConfig, run_dir: Path, trainer: Trainer, telemetry: Telemetry) -> bool:
    """Write a checkpoint; False, with a warning, where the system refuses."""
    if (name := nonfinite.nonfinite_parameter(trainer.agent.network)) is not None:
        raise NonFiniteError(f"parameter {name} is infinite or NaN", None)
    # Flushed first, so that what the checkpoint remembers is on disk in the logs too.
    telemetry.flush()
    keep_best(run_dir, trainer.best)
    loop = cast(dict[str, object], trainer.state_dict())
    replay = cast(dict[str, object], loop.pop("replay"))
    try:
        checkpoint.save(
            checkpoint_directory(run_dir),
            trainer.agent_steps,
            {
                "agent": loop.pop("agent"),
                "environment": loop.pop("environment"),
                "replay": replay,
                "trainer": loop,
                "generators": generator_state(),
                "telemetry": telemetry.position(trainer.agent_steps),
                "config": flatten(asdict(config)),
                "software": provenance_of(config, trainer.agent),
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


def is_saved(run_dir: Path, trainer: Trainer) -> bool:
    """Whether there is a checkpoint of where the trainer stands."""
    directory = checkpoint_directory(run_dir)
    return checkpoint.path_at(directory, trainer.agent_steps) in checkpoint.available(directory)


def keep_best(run_dir: Path, best: BestEvaluation | None) -> None:
    """Let the file of the best evaluation's weights be what the run knows, if it is not yet.

    A file that was damaged, or could not be written when its time was, is so mended with the next
    checkpoint: each holds these weights too.
    """
    if best is None:
        return
    path = best_weights_path(run_dir)
    about = {"return_mean": best.return_mean, "agent_steps": best.agent_steps}
    try:
        if checkpoint.load_weights(path)[1] == about:
            return
    except CheckpointError:
        pass  # missing or damaged
    try:
        checkpoint.save_weights(path, best.weights, about)
    except OSError as error:
        print(f"warning: the best weights were not written: {error}", file=sys.stderr)


def explain_nonfinite(error: NonFiniteError, run_dir: Path, trainer: Trainer) -> None:
    """One line: where it began, what was kept, and what one may do."""
    update = trainer.agent.num_updates + 1
    path = run_dir / NONFINITE_DIRECTORY / f"update_{update:012d}.pt"
    where = nonfinite.first_nonfinite(trainer.agent, error.batch)
    try:
        nonfinite.write_dump(path, trainer.agent, error.batch, str(error))
        kept = f"batch and weights in {path}"
    except OSError as refused:
        kept = f"batch and weights could not be kept ({refused})"
    saved = checkpoint.available(checkpoint_directory(run_dir))
    last = f"last good checkpoint {saved[-1]}" if saved else "no checkpoint yet"
    print(
        f"error: {error} at update {update} (step {trainer.agent_steps}); first not finite: "
        f"{where}; {kept}; {last}; a smaller optimizer.lr or a larger optimizer.eps may help",
        file=sys.stderr,
    )
