"""Finding runs: a path on the command line becomes the runs that lie there."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from dqn.comparison.read.our_runs import holds_metrics, read_run
from dqn.comparison.read.published import (
    holds_events,
    read_csv,
    read_dopamine_json,
    read_tensorboard,
)
from dqn.comparison.run import InputError, Run
from dqn.run_format import EVALUATION_RETURN_MEAN, METRICS_FILE


def find_runs(
    arguments: Sequence[str],
    *,
    metric: str = EVALUATION_RETURN_MEAN,
    tag: str | None = None,
    game: str | None = None,
) -> tuple[list[Run], list[str]]:
    """Everything that the arguments name, in their order.

    Args:
        arguments: paths, each of a run, of a tree that is searched for runs, or of a published
            curve; ``NAME=PATH`` calls what lies at ``PATH`` by another name.
        metric: tag to compare, of our runs.
        tag: tag to compare, of other TensorBoard logs.
        game: what was played, for logs that do not say it.

    Returns:
        The runs, and the directories of runs without a score so far.

    Raises:
        InputError: a path does not exist, or holds nothing that can be read.
    """
    runs: list[Run] = []
    scoreless: list[str] = []
    for argument in arguments:
        name, path = _split(argument)
        found: list[Run] = []
        logs = 0
        for directory in sorted({file.parent for file in path.rglob(METRICS_FILE)}):
            logs += 1
            run = read_run(directory, metric=metric)
            if run is None:
                scoreless.append(str(directory))
            else:
                found.append(run)
        for log in _event_directories(path):
            logs += 1
            found.append(read_tensorboard(log, tag=tag, game=game))
        if not logs:
            for file in _published_files(path):
                found += read_dopamine_json(file) if file.suffix == ".json" else read_csv(file)
        if not found and not logs:
            raise InputError(
                f"RUNS={argument}: holds no run; expected {METRICS_FILE}, TensorBoard event files, "
                "or curves of Dopamine or DQN Zoo as .json, .csv or .csv.gz"
            )
        runs += [run if name is None else dataclasses.replace(run, optimizer=name) for run in found]
    return runs, scoreless


def _split(argument: str) -> tuple[str | None, Path]:
    """Name and path of ``NAME=PATH``; no name where the whole is a path, as ``seed=1`` may be."""
    path = Path(argument)
    if path.exists():
        return None, path
    name, separator, rest = argument.partition("=")
    if separator and rest and Path(rest).exists():
        return name, Path(rest)
    raise InputError(f"RUNS={argument}: no such file or directory")


def _event_directories(path: Path) -> Iterator[Path]:
    if path.is_file():
        return
    for directory in sorted({file.parent for file in path.rglob("*tfevents*")}):
        if holds_events(directory) and not holds_metrics(directory):
            yield directory


def _published_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = [file for pattern in ("*.json", "*.csv", "*.csv.gz") for file in path.rglob(pattern)]
    # Dopamine keeps Vega plots beside its data.
    return sorted(file for file in files if not file.name.endswith(".vg.json"))
