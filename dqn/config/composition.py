"""Configurations as the command line would compose them, for programs."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from dqn.config.files import CONFIG_DIR


def compose_config(config_name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """What the command line composes from ``configs/<config_name>.yaml`` and these overrides.

    Raises:
        HydraException: an override is wrong.

    >>> config = compose_config("train", ["experiment=cartpole", "optimizer=adam"])
    >>> config.run_dir, config.env.id
    ('runs/cartpole/cartpole/adam/seed=1', 'CartPole-v1')
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR.resolve()), version_base="1.3"):
        config = compose(config_name, overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    if "choices" in config:  # Their names are Hydra's to tell, which forgets them with its node.
        config.choices = OmegaConf.to_container(config.choices, resolve=True)
    with open_dict(config):
        del config["hydra"]
    return config
