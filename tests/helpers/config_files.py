"""The YAML files of ``configs/``, composed and read."""

from functools import cache

from omegaconf import OmegaConf

from dqn.config import CONFIG_DIR
from helpers.tiny_runs import compose_config


@cache
def composed(*groups):
    return compose_config(*groups)


def choices(group):
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


OPTIMIZERS = choices("optimizer")
EXPERIMENTS = choices("experiment")


def yaml_of(*overrides):
    return OmegaConf.to_container(composed(*overrides), resolve=False)


def optimizer_arguments(name):
    path = CONFIG_DIR / "optimizer" / f"{name}.yaml"
    arguments = OmegaConf.to_container(OmegaConf.load(path))
    arguments.pop("_target_")
    return arguments
