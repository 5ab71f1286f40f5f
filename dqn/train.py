"""``dqn-train``: compose a configuration, check it, wire the run, train.

Exit status: 0 finished, 2 bad input, 130 or 143 stopped by a signal after a checkpoint was saved,
1 anything else. The same command again goes on where the run stood.
"""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dqn.config import CONFIG_DIR, ConfigError, explain, validate


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="train")
def _train(config: DictConfig) -> float:
    try:
        typed = validate(config)
        # Imported here: `--help`, `--cfg job` and completion need no PyTorch, which takes seconds.
        from dqn.running import train

        choices = HydraConfig.get().runtime.choices
        label = f"{choices['experiment']}/{typed.env.game}/{choices['optimizer']}"
        return train(typed, label=f"{label}/seed={typed.seed}")
    except ConfigError as error:
        # In a sweep the other runs go on and Hydra reports at the end; alone, one line says it.
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        sys.exit(_refuse(str(error)))


def main() -> None:
    """The console script."""
    # Hydra would print its own account of an error and exit with 1; we say it in one line.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        _train()
    except Exception as error:
        message = explain(error, sys.argv[1:], config_name="train")
        if message is None:
            raise
        sys.exit(_refuse(message))
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse(message: str) -> int:
    print(f"dqn-train: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
