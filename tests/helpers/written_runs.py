"""Runs without training: as directories that ``dqn-train`` would write, and as values."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from dqn.comparison.run import Curve, Run

LAYER = "torso.layers.linear1.weight"


def write_run(
    run_dir: Path,
    evaluations: Sequence[tuple[int, float]],
    *,
    game: str = "pong",
    seed: int = 1,
    total_agent_steps: int | None = None,
    frame_skip: int = 4,
    rate: float = 1e-3,
    speed: float = 100.0,
    settings: Mapping[str, object] | None = None,
    stop_at: float | None = None,
    protocol: str | None = "nature",
) -> Path:
    """One finished run with an evaluation, a diagnosis and a line of speed at each given step."""
    run_dir.mkdir(parents=True)
    config = {
        "env": {"game": game, "protocol": protocol, "id": None},
        "optimizer": {"_target_": "rmsprop.RMSprop", "lr": rate},
        "evaluation": {"num_games": 10, "epsilon": None, "stop_at_return_mean": stop_at},
        "seed": seed,
        "total_agent_steps": total_agent_steps or evaluations[-1][0],
        "run_dir": str(run_dir),
        **(settings or {}),
    }
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    lines: list[dict[str, float]] = []
    for step, score in evaluations:
        position = {"step": step, "frames": step * frame_skip, "updates": step // 4}
        lines.append({**position, "episode/return": score - 1, "episode/length": 10})
        lines.append(
            {
                **position,
                f"effective_lr/{LAYER}/p05": rate / 2,
                f"effective_lr/{LAYER}/p50": rate,
                f"effective_lr/{LAYER}/p95": rate * 2,
                f"effective_lr_eps_bound/{LAYER}": 0.25,
                f"update_ratio/{LAYER}": rate / 10,
            }
        )
        lines.append({**position, "speed/agent_steps_per_second": speed})
        lines.append({**position, "eval/return_mean": score, "eval/return_std": 0.5})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run_dir / "metrics.jsonl").write_text(text, encoding="utf-8")
    return run_dir


def write_tree(
    root: Path, scores: Mapping[str, Mapping[str, Sequence[float]]], **kwargs: object
) -> Path:
    """``root/<game>/<optimizer>/seed=<n>``: a run a score, evaluated at three steps."""
    for optimizer, by_game in scores.items():
        for game, finals in by_game.items():
            for seed, final in enumerate(finals, start=1):
                write_run(
                    root / game / optimizer / f"seed={seed}",
                    [(100, 0.0), (200, final / 2), (300, final)],
                    game=game,
                    seed=seed,
                    **kwargs,  # type: ignore[arg-type]
                )
    return root


def make_run(
    optimizer="adam", game="pong", seed=1, *, steps=(100, 200, 300), scores=(0, 1, 2), **kwargs
):
    return Run(
        source=f"{optimizer}/{game}/{seed}",
        optimizer=optimizer,
        game=game,
        seed=str(seed),
        scores=Curve(np.array(steps, float), np.array(scores, float)),
        score_kind=kwargs.pop("score_kind", "evaluation"),
        **kwargs,
    )


def five(optimizer, game="pong", **kwargs):
    return [make_run(optimizer, game, seed, **kwargs) for seed in range(1, 6)]
