"""Evaluating a run after the fact: its configuration, weights of its network, other games."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, cast

from dqn import checkpoint
from dqn.agent import DQN, AgentState
from dqn.config import ConfigError, EvaluateConfig, TrainConfig, load_train_config
from dqn.config.components import check_environment, environment_spec
from dqn.environments import KINDS
from dqn.evaluation.atari_scores import SCORE_TABLES, ScoreTableName, human_normalised_score
from dqn.evaluation.whole_games import Evaluation
from dqn.run import assembly, games
from dqn.run.directory import (
    best_weights_path,
    checkpoint_directory,
    holds_run,
    unusable_directory,
)
from dqn.run.seeding import Seeds, derive_seeds
from dqn.run_format import CONFIG_FILE, EVALUATIONS_FILE, VIDEOS_DIRECTORY
from dqn.system.process import prepare_process
from dqn.system.stopping import StopRequest


def reevaluate(config: EvaluateConfig) -> float:
    """Play whole games as configured; print the result and append it to ``evaluations.jsonl``.

    Returns:
        Mean return.

    Raises:
        ConfigError: no run, or no readable weights, at ``config.run_dir``; an unknown protocol; or
            ``config.out_dir`` cannot be written.
        SystemExit: stopped by a signal.
    """
    run_dir, out_dir = Path(config.run_dir), Path(config.out_dir)
    if not holds_run(run_dir):
        raise ConfigError(f"run_dir={run_dir}: must be a directory that dqn-train has written")
    run_config = _with_evaluation(load_train_config(run_dir / CONFIG_FILE), config)
    check_environment(run_config.env)
    prepare_process(num_threads=config.num_threads, precision=run_config.precision)
    agent, agent_steps = load_agent(run_dir, run_config, weights=config.weights)
    try:  # A directory that cannot be written is told before thirty games are played, not after.
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable_directory("out_dir", out_dir, error) from error
    seeds = derive_seeds(config.seed)
    seeds = seeds._replace(
        evaluation_environment=seeds.reevaluation_environment,
        evaluation_exploration=seeds.reevaluation_exploration,
    )
    with StopRequest() as stop:
        evaluation = games.evaluate_agent(run_config, agent, seeds=seeds, should_stop=stop.is_set)
    if evaluation is None:
        sys.exit(stop.exit_status)
    _report(config, run_config, evaluation, agent_steps)
    if config.video:
        path = out_dir / VIDEOS_DIRECTORY / f"agent_step_{agent_steps:012d}.webp"
        _film(run_config, agent, path, seeds)
    return evaluation.return_mean


def _with_evaluation(run_config: TrainConfig, config: EvaluateConfig) -> TrainConfig:
    """The run's configuration with the games that are asked for now."""
    evaluation = dataclasses.replace(
        run_config.evaluation,
        num_games=config.num_games,
        max_num_envs=config.max_num_envs,
        epsilon=run_config.evaluation.epsilon if config.epsilon is None else config.epsilon,
    )
    env = run_config.env
    if config.protocol is not None:
        if games.protocol_of(env) is None:
            raise ConfigError(f"protocol={config.protocol}: {env.game} has none, it must be null")
        # Any, because not every kind's configuration has a protocol: this one has.
        changes: dict[str, Any] = {"protocol": config.protocol}
        env = dataclasses.replace(env, **changes)
    return dataclasses.replace(run_config, env=env, evaluation=evaluation, device=config.device)


def _report(
    config: EvaluateConfig, run_config: TrainConfig, evaluation: Evaluation, agent_steps: int
) -> None:
    """Append the result to ``evaluations.jsonl``, and print it."""
    line = {
        "step": agent_steps,
        "run_dir": str(Path(config.run_dir)),
        "weights": config.weights,
        "game": run_config.env.game,
        "protocol": environment_spec(run_config.env).protocol,
        "seed": config.seed,
        "epsilon": games.evaluation_epsilon(run_config),
        "return_mean": evaluation.return_mean,
        "return_std": evaluation.return_std,
        **_human_normalised(run_config, evaluation.return_mean, table=config.human_scores),
        "returns": evaluation.returns,
        "lengths": evaluation.lengths,
    }
    with (Path(config.out_dir) / EVALUATIONS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(
        f"{line['run_dir']} at step {agent_steps:,}: return {evaluation.return_mean:.1f} "
        f"± {evaluation.return_std:.1f} over {len(evaluation.returns)} games"
    )
    if "human_normalised" in line:
        print(f"human-normalised: {line['human_normalised']:.3f} (table {line['human_scores']})")


def _human_normalised(
    run_config: TrainConfig, return_mean: float, *, table: str
) -> dict[str, object]:
    """The human-normalised score and its table's name; empty for a game that is not in it."""
    name = cast(ScoreTableName, table)
    env = run_config.env
    if not KINDS[env.kind].has_human_scores or env.game not in SCORE_TABLES[name]:
        return {}
    score = human_normalised_score(env.game, return_mean, table=name)
    return {"human_normalised": score, "human_scores": table}


def _film(run_config: TrainConfig, agent: DQN, path: Path, seeds: Seeds) -> None:
    """Film the first of the games; SystemExit when stopped by a signal."""
    try:
        with StopRequest() as stop:
            recording = games.record_video(
                run_config, agent, path, seeds=seeds, should_stop=stop.is_set
            )
    except (ImportError, OSError) as error:
        print(f"no video: {error}", file=sys.stderr)
        return
    if recording is None:
        sys.exit(stop.exit_status)
    print(f"video: {path}")


def load_agent(
    run_dir: Path, run_config: TrainConfig, *, weights: str = "newest"
) -> tuple[DQN, int]:
    """The run's agent, and how many agent steps its weights had been trained for.

    Args:
        run_dir: of the run.
        run_config: its configuration.
        weights: ``"newest"`` for its newest readable checkpoint, ``"best"`` for the weights of its
            best evaluation, or the path of a safetensors file.

    Raises:
        ConfigError: they cannot be read, or are of another network.
    """
    seeds = derive_seeds(run_config.seed)
    environment = games.build_environment(
        run_config.env, num_envs=1, seed=seeds.environment, training=False
    )
    try:
        agent = assembly.build_agent(
            run_config, environment, seeds=seeds, device=assembly.resolve_device(run_config.device)
        )
    finally:
        environment.close()
    if weights != "newest":
        path = best_weights_path(run_dir) if weights == "best" else Path(weights)
        return agent, _load_weights(agent, path, weights)
    try:
        saved = checkpoint.load_newest(checkpoint_directory(run_dir), keys={"agent"})
        if saved is None:
            raise ConfigError(f"run_dir={run_dir}: holds no checkpoint that can be read")
        agent.load_state_dict(cast(AgentState, saved.state["agent"]))
    except checkpoint.CheckpointError as error:
        raise ConfigError(
            f"run_dir={run_dir}: weights={weights}: there are none that can be read ({error})"
        ) from error
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"run_dir={run_dir}: its weights are not of the network in {CONFIG_FILE} "
            f"({' '.join(str(error).split())})"
        ) from error
    return agent, saved.agent_steps


def _load_weights(agent: DQN, path: Path, weights: str) -> int:
    """Put the weights of a file into the agent; the agent steps that the file tells of, else 0."""
    try:
        tensors, about = checkpoint.load_weights(path)
        agent.network.load_state_dict(tensors)
    except (checkpoint.CheckpointError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"weights={weights}: must be newest, best or a .safetensors file of this network "
            f"({reason})"
        ) from error
    agent_steps = about.get("agent_steps", 0)
    return agent_steps if isinstance(agent_steps, int) else 0
