"""The wheel, built by way of the sdist, installed alone and used from another folder."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
# The subprocesses must find the installed wheel, not this checkout.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def run(*command: str | Path, cwd: Path) -> str:
    finished = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # No isolation: hatchling is in this environment, so nothing is downloaded.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def binaries(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel and borrows its dependencies from ours.

    A folder named in a .pth file joins sys.path, but its own .pth files are not read: an editable
    installation of the checkout stays behind.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    borrowed = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site_packages / "borrowed.pth").write_text("\n".join(borrowed))
    return folder / "bin"


def test_wheel_ships_two_packages_their_configs_and_nothing_else(wheel: Path) -> None:
    shipped = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in shipped} == {
        "rmsprop",
        "dqn",
        f"{'-'.join(wheel.name.split('-')[:2])}.dist-info",
    }
    sources = {
        str(path.relative_to(ROOT))
        for package in ("rmsprop", "dqn")
        for path in ROOT.glob(f"{package}/**/*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert {"rmsprop/py.typed", "dqn/py.typed"} <= sources
    configs = {f"dqn/{path.relative_to(ROOT)}" for path in ROOT.glob("configs/**/*.yaml")}
    assert "dqn/configs/train.yaml" in configs
    assert sources | configs == {name for name in shipped if ".dist-info/" not in name}


def test_installed_packages_import_from_the_wheel(binaries: Path, tmp_path: Path) -> None:
    code = "import rmsprop, dqn; print(rmsprop.__file__); print(dqn.__file__)"
    files = run(binaries / "python", "-c", code, cwd=tmp_path).splitlines()
    assert [Path(file).is_relative_to(binaries.parent) for file in files] == [True, True]


@pytest.mark.parametrize("command", SCRIPTS)
def test_console_script_explains_itself(command: str, binaries: Path, tmp_path: Path) -> None:
    assert "optimizer" in run(binaries / command, "--help", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == [], "asking for help wrote files"


def test_console_script_composes_the_shipped_configs(binaries: Path, tmp_path: Path) -> None:
    config = run(binaries / "dqn-train", "--cfg", "job", cwd=tmp_path)
    assert "_target_: rmsprop.RMSprop" in config
    origin = run(binaries / "dqn-train", "--info", "searchpath", cwd=tmp_path)
    assert str(binaries.parent) in origin
    assert str(ROOT) not in origin
