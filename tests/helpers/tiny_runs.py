"""Runs of seconds: configured as by the command line, and their metrics read back."""

from pathlib import Path

from faults.tiny_runs import CARTPOLE, MINATAR, PONG, read_lines, repeatable
from omegaconf import DictConfig

from dqn import config
from dqn.config import TrainConfig, validate

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
    return config.compose_config("train", overrides)


def tiny_config(run_dir: Path, *overrides: str, base: tuple[str, ...] = CARTPOLE) -> TrainConfig:
    return validate(compose_config(*base, f"run_dir={run_dir}", *overrides))
