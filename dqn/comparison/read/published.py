"""Reading curves that others published: Dopamine, DQN Zoo, and TensorBoard logs."""

import csv
import gzip
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from dqn.comparison.run import (
    GAMES_PER_POINT,
    InputError,
    Run,
    canonical_game,
    is_atari_game,
    is_of_single_games,
    make_curve,
)
from dqn.run_format import EPISODE_RETURN, EVALUATION_RETURN_MEAN

FRAMES_PER_AGENT_STEP = 4
MILLION = 1_000_000
# One iteration of Dopamine's baselines is a million frames (its baselines/README.md).
DOPAMINE_FRAMES_PER_ITERATION = MILLION
DOPAMINE_PROTOCOL = "Dopamine: sticky actions, whole games"
DQN_ZOO_PROTOCOL = "DQN Zoo: no-op starts, evaluation ε of its agent, 500 k evaluation frames"
# Tags of returns: ours, Stable-Baselines3's two, CleanRL's, Dopamine's, TorchRL's, and ours of
# training games.
RETURN_TAGS = (
    EVALUATION_RETURN_MEAN,
    "eval/mean_reward",
    "rollout/ep_rew_mean",
    "charts/episodic_return",
    "Eval/AverageReturns",
    "Train/AverageReturns",
    "eval/reward",
    "train/episode_reward",
    EPISODE_RETURN,
)
_RunKey = tuple[str, str, str]
_Points = dict[_RunKey, tuple[list[float], list[float]]]


def read_dopamine_json(path: Path) -> list[Run]:
    """``baselines/atari/data/<game>[_<network>].json`` of google/dopamine.

    A list of ``{"Iteration": i, "Value": return, "Agent": name}`` for all runs of all agents of
    one game. Files list their runs one after another or side by side; either way, the k-th value
    of an agent's iteration belongs to its k-th run. The network of a file's name joins the agent's.

    Raises:
        InputError: it is something else.
    """
    name, _, variant = path.stem.partition("_")
    game = canonical_game(name)
    points: _Points = defaultdict(lambda: ([], []))
    seen: defaultdict[tuple[str, int], int] = defaultdict(int)
    try:
        for entry in json.loads(path.read_text(encoding="utf-8")):
            agent, iteration = str(entry["Agent"]), int(entry["Iteration"])
            seen[agent, iteration] += 1
            label = f"{agent} ({variant})" if variant else agent
            frames, values = points[label, game, str(seen[agent, iteration])]
            frames.append((iteration + 1) * DOPAMINE_FRAMES_PER_ITERATION)
            values.append(float(entry["Value"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"RUNS={path}: must be a list of Iteration, Value and Agent as Dopamine publishes it"
        ) from error
    return _runs(path, points, protocol=DOPAMINE_PROTOCOL, score_kind="unstated")


def read_csv(path: Path) -> list[Run]:
    """Curves as CSV, plain or gzipped, in one of two layouts, recognised by their header.

    - Dopamine's curves in wide form: ``game,agent,million_frames,run1,...,runN``.
    - DQN Zoo's results: ``environment_name,seed,frame,eval_episode_return`` among others; the
      agent is the file's name. What a single run of DQN Zoo writes lacks the first two.

    Raises:
        InputError: it is neither, or a value is no number.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns = set(reader.fieldnames or ())
            if {"game", "agent", "million_frames"} <= columns:
                return _read_dopamine_rows(path, reader)
            if {"frame", "eval_episode_return"} <= columns:
                return _read_dqn_zoo_rows(path, reader)
    except (OSError, EOFError, ValueError, TypeError, csv.Error, zlib.error) as error:
        raise InputError(f"RUNS={path}: cannot be read as CSV ({error})") from error
    raise InputError(
        f"RUNS={path}: its columns must include game, agent, million_frames, run1, ... (Dopamine) "
        "or frame, eval_episode_return (DQN Zoo)"
    )


def _read_dopamine_rows(path: Path, reader: "csv.DictReader[str]") -> list[Run]:
    points: _Points = defaultdict(lambda: ([], []))
    run_columns = [name for name in reader.fieldnames or () if re.fullmatch(r"run\d+", name)]
    for row in reader:
        game = canonical_game(row["game"])
        for column in run_columns:
            if row[column]:
                frames, values = points[row["agent"], game, column.removeprefix("run")]
                frames.append(float(row["million_frames"]) * MILLION)
                values.append(float(row[column]))
    return _runs(path, points, protocol=DOPAMINE_PROTOCOL, score_kind="unstated")


def _read_dqn_zoo_rows(path: Path, reader: "csv.DictReader[str]") -> list[Run]:
    agent = path.name.split(".")[0]
    points: _Points = defaultdict(lambda: ([], []))
    for row in reader:
        game = canonical_game(row.get("environment_name") or path.parent.name)
        frames, values = points[agent, game, row.get("seed") or "1"]
        frames.append(float(row["frame"]))
        values.append(float(row["eval_episode_return"]))
    return _runs(path, points, protocol=DQN_ZOO_PROTOCOL, score_kind="evaluation")


def _runs(path: Path, points: _Points, *, protocol: str, score_kind: str) -> list[Run]:
    runs = []
    for (agent, game, seed), (frames, values) in points.items():
        scores = make_curve([frame / FRAMES_PER_AGENT_STEP for frame in frames], values)
        if scores.steps.size:
            runs.append(
                Run(
                    source=f"{path} ({agent}, {game}, run {seed})",
                    optimizer=agent,
                    game=game,
                    seed=seed,
                    scores=scores,
                    score_kind=score_kind,
                    protocol=protocol,
                    frames_per_agent_step=FRAMES_PER_AGENT_STEP,
                )
            )
    return runs


def holds_events(directory: Path) -> bool:
    """Whether TensorBoard would find a log here."""
    return any(directory.glob("*tfevents*"))


def read_tensorboard(directory: Path, *, tag: str | None, game: str | None) -> Run:
    """One TensorBoard log: every point of one tag, its x-axis taken as agent steps.

    Args:
        directory: holds event files.
        tag: of the returns; None takes the first of ``RETURN_TAGS`` that is there. Tags of single
            games become a mean of the last 100.
        game: what was played; None reads it off the path (``PongNoFrameskip-v4__dqn__1``).

    Raises:
        InputError: no such tag, or no game.
    """
    # TensorBoard is slow to import, and this format alone needs it.
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    # 0 keeps every point. The default keeps a random sample of 10,000.
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    candidates = RETURN_TAGS if tag is None else (tag,)
    chosen = next((candidate for candidate in candidates if candidate in tags), None)
    if chosen is None:
        raise InputError(
            f"--tag={tag}: {directory} has no such tag of scalars; it has "
            f"{', '.join(sorted(tags)) or 'none'}"
        )
    points = events.Scalars(chosen)
    steps = [float(point.step) for point in points]
    place = _read_place(directory)
    found_game = game or place.get("game")
    if found_game is None:
        raise InputError(f"--game: {directory} does not say which game was played; name it")
    atari = is_atari_game(canonical_game(found_game))
    begin = points[0].wall_time
    return Run(
        source=str(directory),
        optimizer=place.get("agent", directory.name),
        game=canonical_game(found_game),
        seed=place.get("seed", directory.name),
        scores=make_curve(
            steps,
            [float(point.value) for point in points],
            games_per_point=GAMES_PER_POINT if is_of_single_games(chosen) else 1,
        ),
        score_kind="evaluation" if chosen.lower().startswith("eval") else "training",
        protocol=f"unstated (TensorBoard log, tag {chosen})",
        frames_per_agent_step=FRAMES_PER_AGENT_STEP if atari else 1,
        seconds=make_curve(steps, [point.wall_time - begin for point in points]),
    )


def _read_place(directory: Path) -> Mapping[str, str]:
    """Game, agent and seed, as far as the path says them.

    CleanRL writes ``<game>__<agent>__<seed>__<time>``, rl-zoo ``<agent>/<game>_<run>``, we
    ``<game>/<agent>/seed=<n>``.
    """
    for part in reversed(directory.parts):
        fields = part.split("__")
        if len(fields) >= 3 and fields[2].isdigit():
            return {"game": fields[0], "agent": fields[1], "seed": fields[2]}
    place: dict[str, str] = {}
    for index, part in reversed(list(enumerate(directory.parts))):
        if "seed" not in place and (match := re.search(r"seed[=_-]?(\d+)", part)):
            place["seed"] = match[1]
            if index >= 2 and match[0] == part:
                place["game"], place["agent"] = directory.parts[index - 2 : index]
        named = re.match(r"([A-Za-z0-9]+-v\d+)(?:_(\d+))?$", part)
        if "game" not in place and (named or is_atari_game(canonical_game(part))):
            place["game"] = named[1] if named else part
            if named and named[2]:
                place.setdefault("seed", named[2])
                if index:
                    place.setdefault("agent", directory.parts[index - 1])
    return place
