"""The promises of pyproject.toml, constraints.txt, Makefile and .ci/run about one another."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
]
make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def run_make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Without the variables of the `make test` that runs us, make is the outermost one again.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_every_constraint_is_one_exact_public_version() -> None:
    # "+cpu" would exclude CUDA builds; a path or an address would tie the file to one machine.
    exact = re.compile(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*")
    assert [line for line in PINS if not exact.fullmatch(line)] == []


def test_every_requirement_has_a_tested_version_in_its_range() -> None:
    tested = {
        canonicalize_name(name): version for name, version in (line.split("==") for line in PINS)
    }
    required = [*PROJECT["dependencies"]]
    for extra in PROJECT["optional-dependencies"].values():
        required.extend(extra)
    untested = []
    for requirement in map(Requirement, required):
        version = tested.get(canonicalize_name(requirement.name))
        if version is None or version not in requirement.specifier:
            untested.append(str(requirement))
    # The extra "dev" includes the others.
    assert untested == ["rmsprop-dqn[compare,minatar,studies,submitit,sweep,video]"]


def test_every_package_that_we_import_is_a_declared_dependency() -> None:
    imported: set[str] = set()
    for path in [*ROOT.glob("rmsprop/**/*.py"), *ROOT.glob("dqn/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    providers = packages_distributions()
    undeclared = [
        name
        for name in sorted(imported - sys.stdlib_module_names - {"rmsprop", "dqn"})
        if declared.isdisjoint(map(canonicalize_name, providers.get(name, [])))
    ]
    # Figures alone need an extra; where it is missing, dqn-compare says so in one line.
    assert undeclared == ["matplotlib"]
    extra = PROJECT["optional-dependencies"]["compare"]
    assert [Requirement(line).name for line in extra] == ["matplotlib"]


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_every_console_script_is_installed_and_callable(name: str) -> None:
    (script,) = entry_points(group="console_scripts", name=name)
    assert script.value == PROJECT["scripts"][name]
    assert callable(script.load())


@make
@pytest.mark.parametrize("target", ["train", "smoke", "tensorboard", "test", "lint", "type"])
def test_a_target_on_a_fresh_checkout_first_installs_the_tested_versions(target: str) -> None:
    commands = run_make("--dry-run", target, "INSTALLED=no-such-stamp", "PYTHON=python3.99")
    assert commands.returncode == 0
    lines = commands.stdout.splitlines()
    create = lines.index("python3.99 -m venv .venv")
    assert "pip install" in lines[create + 1]
    assert "-c constraints.txt" in lines[create + 1]
    assert len(lines) > create + 3, "installs, but runs nothing"


@make
@pytest.mark.parametrize(
    ("arguments", "overrides"),
    [
        ("", "experiment=pong"),
        ("optimizer=adam", "experiment=pong optimizer=adam"),
        ("env.game=breakout optimizer=adam", "env.game=breakout optimizer=adam"),
        ("experiment=nature", "experiment=nature"),
        ("env=cartpole", "env=cartpole"),
    ],
)
def test_training_is_of_pong_to_its_score_unless_another_game_is_named(
    arguments: str, overrides: str
) -> None:
    commands = run_make("--dry-run", "train", f"ARGS={arguments}")
    assert commands.stdout.endswith(f".venv/bin/dqn-train {overrides}\n")


@make
def test_tensorboard_is_seen_from_this_machine_alone() -> None:
    """It asks nobody who they are."""
    command = run_make("--dry-run", "tensorboard").stdout.splitlines()[-1]
    assert "--host localhost" in command
    assert "--bind_all" not in command


@make
def test_an_old_python_is_refused_in_one_line_before_anything_is_made(tmp_path: Path) -> None:
    old_python = tmp_path / "python-old"
    old_python.write_text(
        "#!/bin/sh\n"
        f"exec '{sys.executable}' -c "
        '"import sys; sys.version_info = (3, 9, 18); exec(sys.argv[2])" "$@"\n'
    )
    old_python.chmod(0o755)
    stamp = tmp_path / "stamp"
    refused = run_make(
        str(stamp), f"INSTALLED={stamp}", f"VENV={tmp_path}/venv", f"PYTHON={old_python}"
    )
    assert refused.returncode == 2
    message, make_status = refused.stderr.splitlines()
    assert message == (
        f"Python 3.11 or newer is needed, {old_python} is 3.9: use make PYTHON=python3.11"
    )
    assert make_status.startswith("make: ***")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["python-old"]


def test_ci_runs_make_test_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    commands = [
        line for line in script.read_text().splitlines() if line and not line.startswith("#")
    ]
    assert commands == [
        "set -euo pipefail",
        'cd "$(dirname "${BASH_SOURCE[0]}")/.."',
        "exec make test </dev/null",
    ]
    assert script.stat().st_mode & 0o111
