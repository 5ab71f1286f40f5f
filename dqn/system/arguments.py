"""Arguments of plain commands: what is wrong with them is said in one line."""

import argparse
from typing import NoReturn

from dqn.system.exit_status import BAD_INPUT_STATUS


class ArgumentParser(argparse.ArgumentParser):
    """Answers a wrong argument with one line on stderr and status 2, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end the process."""
        self.exit(BAD_INPUT_STATUS, f"{self.prog}: {message}\n")
