"""Measure this machine: ``python scripts/benchmark.py training --json FILE``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import checkpoint, optimizer, replay, scaling, training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for module in (optimizer, training, scaling, replay, checkpoint):
        name = module.__name__.rpartition(".")[2]
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0])
        command.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    arguments = parser.parse_args()
    result = arguments.run(arguments)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
