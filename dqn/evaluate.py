"""``dqn-evaluate``: whole games with the policy of a run's newest checkpoint.

Exit status: 0 finished, 2 bad input, 130 or 143 stopped by a signal, 1 anything else.
"""

import hydra
from omegaconf import DictConfig

from dqn.command_line import answer, guard
from dqn.config import CONFIG_DIR, validate_evaluation


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="evaluate")
def _evaluate(config: DictConfig) -> float:
    def run() -> float:
        typed = validate_evaluation(config)
        # Imported here: `--help` and completion need no PyTorch, which takes seconds.
        from dqn.run.reevaluation import reevaluate

        return reevaluate(typed)

    return answer(run, program="dqn-evaluate")


def main() -> None:
    """The console script."""
    guard(_evaluate, program="dqn-evaluate", config_name="evaluate")


if __name__ == "__main__":
    main()
