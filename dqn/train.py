"""``dqn-train``: compose a configuration, check it, wire the run, train.

Exit status: 0 finished, 2 bad input, 130 or 143 stopped by a signal after a checkpoint was saved,
1 anything else. The same command again continues the run. Of a sweep it skips the runs that are
finished, continues those that were cut short, and starts those that are missing.
"""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dqn.command_line import answer, guard
from dqn.config import CONFIG_DIR, TrainConfig, validate, variant_directory
from dqn.sweep.job import run_job
from dqn.sweep.watch import finish_sweep


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="train")
def _train(config: DictConfig) -> float:
    context = HydraConfig.get()

    def label(typed: TrainConfig) -> str:
        choices = typed.choices
        directory = f"{variant_directory(choices.variant)}{choices.optimizer}"
        return f"{choices.experiment}/{typed.env.game}/{directory}/seed={typed.seed}"

    def run() -> float:
        if context.mode == RunMode.MULTIRUN:
            return run_job(
                lambda: validate(config),
                label,
                number=int(context.job.num),
                name=" ".join(context.overrides.task),
                sweep_dir=Path(context.sweep.dir),
            )
        typed = validate(config)
        # Imported here: `--help` and completion need no PyTorch, which takes seconds.
        from dqn.run.lifecycle import train

        return train(typed, label=label(typed))

    return answer(run, program="dqn-train")


def main() -> None:
    """The console script."""
    guard(_train, program="dqn-train", config_name="train", finish=finish_sweep)


if __name__ == "__main__":
    main()
