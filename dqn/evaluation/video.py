"""Films of the agent at play, written with Pillow alone."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from dqn.environments import VectorEnvironment
from dqn.exploration import Policy
from dqn.system.whole_file import replace_file

_FORMATS = {".gif": "GIF", ".webp": "WEBP"}
# GIF counts time in hundredths of a second, and browsers slow down anything below two of them.
_GIF_TICK_MS = 10
_MAX_FRAMES_PER_SECOND = 50.0


class Recording(NamedTuple):
    """What a film shows.

    Attributes:
        path: the file.
        episode_return: raw score up to the film's last picture.
        num_agent_steps: agent steps shown; the film has one picture more.
        is_complete: whether the game was played to its end.
    """

    path: Path
    episode_return: float
    num_agent_steps: int
    is_complete: bool


def record_episode(
    environment: VectorEnvironment,
    policy: Policy,
    path: str | os.PathLike[str],
    *,
    max_agent_steps: int,
    frames_per_second: float = 15.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Recording | None:
    """Play one game from the environment's seed and film it, one picture per agent step.

    The game is the one an evaluation from the same seed would play. The file appears under its
    name only when it is whole. Every picture keeps its size; colours are exact up to 256 of them,
    which is more than an Atari has.

    Args:
        environment: one copy, made with ``render_mode="rgb_array"``; reset here, not closed.
        policy: plays.
        path: a ``.gif`` or ``.webp`` file; its directory is made, a file of that name replaced.
        max_agent_steps: agent steps after which the film ends although the game does not. The
            pictures are held in memory: 33 kB a step for Atari.
        frames_per_second: 15 is the speed of an Atari with a frame skip of 4, 50 that of
            CartPole. A GIF rounds a picture's time to 10 ms. Equal pictures in a row are stored
            as one that is shown for as long as they would have been.
        should_stop: polled at every step; when it turns true the film is given up.

    Returns:
        What the film shows, or None where it was given up and no file written.

    Raises:
        ValueError: for another file type or a number out of range.

    >>> import tempfile
    >>> from dqn.environments import AtariEnvironment
    >>> from dqn.environments.protocols import PROTOCOLS
    >>> environment = AtariEnvironment(
    ...     "pong", protocol=PROTOCOLS["nature"], num_envs=1, seed=0, training=False,
    ...     render_mode="rgb_array")
    >>> always_up = lambda time_step: np.array([2])
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     recording = record_episode(
    ...         environment, always_up, f"{directory}/pong.gif", max_agent_steps=20)
    >>> recording.num_agent_steps, recording.is_complete
    (20, False)
    >>> environment.close()
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"path={str(path)!r} must end in {' or '.join(_FORMATS)}")
    if max_agent_steps < 1:
        raise ValueError(f"max_agent_steps={max_agent_steps} must be at least 1")
    if not 0.0 < frames_per_second <= _MAX_FRAMES_PER_SECOND:
        raise ValueError(
            f"frames_per_second={frames_per_second} must be in (0, {_MAX_FRAMES_PER_SECOND:g}]"
        )
    time_step = environment.reset()
    pictures = [_picture(environment.render())]
    episode_return, num_agent_steps = 0.0, 0
    while num_agent_steps < max_agent_steps and not time_step.is_last_t[0]:
        if should_stop():
            return None
        time_step = environment.step(policy(time_step))
        pictures.append(_picture(environment.render()))
        episode_return += float(time_step.reward_t[0])
        num_agent_steps += 1
    _write(pictures, path, frames_per_second)
    return Recording(path, episode_return, num_agent_steps, bool(time_step.is_last_t[0]))


def _picture(frame: npt.NDArray[np.uint8]) -> Image.Image:
    # All pictures wait in memory for the end of the game, here with one byte a pixel, not three.
    return Image.fromarray(frame).quantize(dither=Image.Dither.NONE)


def _write(pictures: list[Image.Image], path: Path, frames_per_second: float) -> None:
    file_format = _FORMATS[path.suffix.lower()]
    milliseconds = round(1000 / frames_per_second)
    if file_format == "GIF":
        milliseconds = max(round(milliseconds / _GIF_TICK_MS), 2) * _GIF_TICK_MS
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format=file_format,
        save_all=True,
        append_images=pictures[1:],
        duration=milliseconds,
        loop=0,
        lossless=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getbuffer())
