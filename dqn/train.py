"""``dqn-train``: compose a configuration, check it, wire the run, train.

Exit status: 0 finished, 2 bad input, 130 or 143 stopped by a signal after a checkpoint was saved,
1 anything else. The same command again goes on where the run stood.
"""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from dqn.config import CONFIG_DIR, validate
from dqn.entry import answer, guard


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="train")
def _train(config: DictConfig) -> float:
    def run() -> float:
        typed = validate(config)
        # Imported here: `--help` and completion need no PyTorch, which takes seconds.
        from dqn.running import train

        choices = HydraConfig.get().runtime.choices
        label = f"{choices['experiment']}/{typed.env.game}/{choices['optimizer']}"
        return train(typed, label=f"{label}/seed={typed.seed}")

    return answer(run, program="dqn-train")


def main() -> None:
    """The console script."""
    guard(_train, program="dqn-train", config_name="train")


if __name__ == "__main__":
    main()
