"""Runs of seconds: configured as by the command line, and their metrics read back."""

from pathlib import Path

from faults.tiny_runs import CARTPOLE, MINATAR, PONG, read_lines, repeatable
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from dqn.config import CONFIG_DIR, TrainConfig, validate

__all__ = [
    "CARTPOLE",
    "MINATAR",
    "PONG",
    "compose_config",
    "read_lines",
    "repeatable",
    "tiny_config",
]


def compose_config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def tiny_config(run_dir: Path, *overrides: str, base: tuple[str, ...] = CARTPOLE) -> TrainConfig:
    return validate(compose_config(*base, f"run_dir={run_dir}", *overrides))
