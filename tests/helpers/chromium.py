"""A real browser without a window or a network, for tests that look at pages."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
# Chromium's own, to keep it from updating, reporting or asking anything.
OFFLINE = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class View(NamedTuple):
    """What a browser shows.

    Attributes:
        pixels: ``[height, width, 3]``, uint8.
        console: what the page made the browser complain of.
    """

    pixels: npt.NDArray[np.uint8]
    console: list[str]


def look(
    url: str, directory: Path, *, dark: bool = False, size: tuple[int, int] = (1200, 1600)
) -> View:
    """A screenshot once the page has come to rest."""
    picture = directory / "screenshot.png"
    errors = _run(
        directory,
        f"--screenshot={picture}",
        f"--window-size={size[0]},{size[1]}",
        "--hide-scrollbars",
        # Blink's enumeration: 0 dark, 1 light.
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--enable-logging=stderr",
        url,
    ).stderr
    console = [line for line in errors.splitlines() if "CONSOLE" in line]
    with Image.open(picture) as image:
        return View(np.asarray(image.convert("RGB")), console)


def read(url: str, directory: Path) -> str:
    """The page's document after its scripts have run."""
    return _run(directory, "--dump-dom", url).stdout


def _run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    return subprocess.run(
        [
            CHROMIUM,
            *OFFLINE,
            "--virtual-time-budget=15000",
            f"--user-data-dir={directory / 'profile'}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
