"""What configurations may compute with ``${...}``, beside OmegaConf's own resolvers."""

from omegaconf import OmegaConf


def variant_directory(variant: str) -> str:
    """The part of a run's directory that names its variant: none of plain DQN.

    >>> "pong/" + variant_directory("double") + "adam", "pong/" + variant_directory("dqn") + "adam"
    ('pong/double/adam', 'pong/adam')
    """
    return "" if variant == "dqn" else f"{variant}/"


def register_resolvers() -> None:
    """Make them known to OmegaConf; every process that resolves a configuration needs it."""
    OmegaConf.register_new_resolver("variant_directory", variant_directory, replace=True)
