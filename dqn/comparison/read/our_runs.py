"""Reading the directories that ``dqn-train`` writes."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from dqn.comparison.run import (
    GAMES_PER_POINT,
    Curve,
    InputError,
    Run,
    is_atari_game,
    is_of_single_games,
    make_curve,
)
from dqn.run_format import (
    AGENT_STEPS_PER_SECOND,
    CONFIG_FILE,
    EVALUATION_PREFIX,
    EVALUATION_RETURN_MEAN,
    LAYER_PREFIXES,
    METRICS_FILE,
    NONFINITE_DIRECTORY,
    PROVENANCE_FILE,
)
from dqn.saved_config import flatten, upgrade


def holds_metrics(directory: Path) -> bool:
    """Whether ``dqn-train`` has logged anything here."""
    return (directory / METRICS_FILE).is_file()


def read_run(directory: Path, *, metric: str = EVALUATION_RETURN_MEAN) -> Run | None:
    """One run's directory.

    Args:
        directory: holds ``metrics.jsonl``, and ``config.yaml`` unless it was lost.
        metric: the tag that is compared. Tags of single games become a mean of the last 100.

    Returns:
        None while the run has no value of that metric.

    Raises:
        InputError: a file is not what ``dqn-train`` writes.
    """
    settings = _read_settings(directory / CONFIG_FILE)
    metrics = _read_metrics(directory / METRICS_FILE, metric)
    scores = metrics.curve(
        metric, games_per_point=GAMES_PER_POINT if is_of_single_games(metric) else 1
    )
    if not scores.steps.size:
        return None
    planned = settings.get("total_agent_steps")
    evaluations = metrics.curve(EVALUATION_RETURN_MEAN)
    is_solved = _is_solved(evaluations, settings.get("evaluation.stop_at_return_mean"))
    # A run ends with its last evaluation. Lines of the same step may precede that by minutes.
    end = evaluations.steps[-1] if evaluations.steps.size else metrics.last_step
    is_unfinished = isinstance(planned, int) and bool(end < planned) and not is_solved
    return Run(
        source=str(directory),
        optimizer=_optimizer_name(directory, settings),
        game=_game(settings),
        seed=str(settings.get("seed", directory.name)),
        scores=scores,
        score_kind="evaluation" if metric.startswith(EVALUATION_PREFIX) else "training",
        protocol=_protocol(settings),
        frames_per_agent_step=metrics.frames_per_agent_step,
        settings=settings,
        seconds=_training_seconds(metrics.curve(AGENT_STEPS_PER_SECOND)),
        diagnostics={
            tag: metrics.curve(tag)
            for tag in metrics.points
            if tag not in (metric, AGENT_STEPS_PER_SECOND)
        },
        planned_agent_steps=planned if isinstance(planned, int) else None,
        is_unfinished=is_unfinished,
        is_solved=is_solved,
        has_diverged=is_unfinished and (directory / NONFINITE_DIRECTORY).is_dir(),
        codes=_read_codes(directory / PROVENANCE_FILE),
    )


class _Metrics(NamedTuple):
    """What a comparison needs of ``metrics.jsonl``.

    Attributes:
        points: steps and values by tag, in order of writing.
        frames_per_agent_step: of the last line that tells.
        last_step: of the last line.
    """

    points: dict[str, tuple[list[float], list[float]]]
    frames_per_agent_step: float
    last_step: float

    def curve(self, tag: str, *, games_per_point: int = 1) -> Curve:
        """The curve of a tag, empty where no line has it."""
        steps, values = self.points.get(tag, ([], []))
        return make_curve(steps, values, games_per_point=games_per_point)


def _read_metrics(path: Path, metric: str) -> _Metrics:
    points: dict[str, tuple[list[float], list[float]]] = {}
    frames_per_agent_step = 1.0
    last_step = 0.0
    for line in _read_lines(path):
        last_step = step = line["step"]
        if step:
            frames_per_agent_step = line.get("frames", step) / step
        for tag, value in line.items():
            if tag in (metric, EVALUATION_RETURN_MEAN, AGENT_STEPS_PER_SECOND) or tag.startswith(
                LAYER_PREFIXES
            ):
                steps, values = points.setdefault(tag, ([], []))
                steps.append(step)
                values.append(value)
    return _Metrics(points, frames_per_agent_step, last_step)


def _is_solved(evaluations: Curve, stop_at_return_mean: object) -> bool:
    """Whether the last evaluation has reached the return at which the run was to stop."""
    return (
        isinstance(stop_at_return_mean, int | float)
        and evaluations.values.size > 0
        and float(evaluations.values[-1]) >= stop_at_return_mean
    )


def _read_lines(path: Path) -> Iterator[dict[str, float]]:
    """Objects of a JSON Lines file; a last line that a crash has cut short is left out."""
    # Bytes that are no text become characters that are no JSON, and are refused as that below.
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
            line["step"] + 0.0
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number == len(lines):
                return
            raise InputError(
                f"RUNS={path}: line {number} must be a JSON object with a number 'step'"
            ) from error
        yield line


def _read_codes(path: Path) -> tuple[str, ...]:
    """Versions of the code that the run's numbers come from, in order; other lines do not count.

    What was done from a step on is lost where another process went on from that step or before.
    """
    if not path.is_file():
        return ()
    workers: list[tuple[float, str]] = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            step, code = line["step"] + 0.0, line["code"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(code, str) and code.isprintable():
            workers = [worker for worker in workers if worker[0] < step] + [(step, code)]
    return tuple(dict.fromkeys(code for _, code in workers))


def _read_settings(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"RUNS={path}: must be the YAML that dqn-train writes") from error
    if not isinstance(config, Mapping):
        raise InputError(f"RUNS={path}: must be a YAML mapping of keys to values")
    return upgrade(flatten(config))


def _game(settings: Mapping[str, object]) -> str:
    """MinAtar's Breakout is another game than Atari's and has no human score of it."""
    game, kind = str(settings.get("env.game", "unknown")), settings.get("env.kind", "atari")
    return game if kind == "atari" or not is_atari_game(game) else f"{kind}_{game}"


def _optimizer_name(directory: Path, settings: Mapping[str, object]) -> str:
    """What was chosen, by its name; else what ``runs/.../<optimizer>/seed=<n>`` says; else a class.

    Between the two a sweep may have put what else it goes over, as ``key=value``. The directory may
    have been moved, so that the path it was configured for counts too.
    """
    if chosen := settings.get("choices.optimizer"):
        return str(chosen)
    for path in (directory.absolute(), Path(str(settings.get("run_dir", "")))):
        if re.fullmatch(r"seed=\d+", path.name):
            for parent in path.parents:
                if parent.name and "=" not in parent.name:
                    return parent.name
    target = settings.get("optimizer._target_")
    return str(target).rsplit(".", 1)[-1] if target else directory.name


def _protocol(settings: Mapping[str, object]) -> str | None:
    """What decides how evaluation games are played and counted, in words."""
    if not settings:
        return None
    name = settings.get("env.protocol") or settings.get("env.id") or "unnamed"
    epsilon = settings.get("evaluation.epsilon")
    games = settings.get("evaluation.num_games")
    shown = "the protocol's" if epsilon is None else f"{epsilon:g}"
    return f"{name}, {games} evaluation games, ε {shown}"


def _training_seconds(speed: Curve) -> Curve | None:
    """Seconds spent acting, stepping and learning up to each step: Σ Δsteps / speed.

    ``speed/agent_steps_per_second`` is a mean since the line before and leaves evaluations out.
    """
    positive = speed.values > 0
    steps, values = speed.steps[positive], speed.values[positive]
    if not steps.size:
        return None
    previous = 0.0
    total = 0.0
    seconds = []
    for step, value in zip(steps, values, strict=True):
        total += (step - previous) / value
        previous = step
        seconds.append(total)
    return make_curve([0.0, *steps.tolist()], [0.0, *seconds])
