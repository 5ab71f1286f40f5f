"""The line a person watches while training: return, speed and time left."""

import sys
import time
from collections.abc import Sequence
from statistics import fmean
from types import TracebackType
from typing import Self

from tqdm import tqdm

# Without a terminal (a log file, a sweep), one plain line this often.
PLAIN_PERIOD_SECONDS = 30.0


class Progress:
    """A tqdm bar on a terminal, a plain line now and then elsewhere, on standard error.

    Args:
        total_agent_steps: where the bar ends.
        agent_steps: where it starts (a resumed run).
        label: what is being trained.
        is_terminal: whether to draw a bar; by default, whether standard error is a terminal.
    """

    def __init__(
        self,
        *,
        total_agent_steps: int,
        agent_steps: int,
        label: str,
        is_terminal: bool | None = None,
    ) -> None:
        self._total_agent_steps = total_agent_steps
        self._label = label
        self._is_terminal = sys.stderr.isatty() if is_terminal is None else is_terminal
        self._last_agent_steps = agent_steps
        self._last_line = time.perf_counter()
        self._bar = tqdm(
            total=total_agent_steps,
            initial=agent_steps,
            desc=label,
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
            disable=not self._is_terminal,
            file=sys.stderr,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()

    def update(self, agent_steps: int, recent_returns: Sequence[float]) -> None:
        """Move to ``agent_steps``; cheap enough to be called at every turn."""
        if self._is_terminal:
            self._bar.update(agent_steps - self._bar.n)
            if recent_returns:
                self._bar.set_postfix_str(f"return {fmean(recent_returns):.1f}", refresh=False)
            return
        elapsed_seconds = time.perf_counter() - self._last_line
        if elapsed_seconds >= PLAIN_PERIOD_SECONDS:
            self.note(self._plain_line(agent_steps, recent_returns, elapsed_seconds))
            self._last_line += elapsed_seconds
            self._last_agent_steps = agent_steps

    def note(self, text: str) -> None:
        """Print a line of its own without tearing the bar."""
        tqdm.write(f"{self._label}: {text}", file=sys.stderr)

    def _plain_line(
        self, agent_steps: int, recent_returns: Sequence[float], elapsed_seconds: float
    ) -> str:
        # The speed of the moment: the warm-up, without updates, is many times faster.
        steps_per_second = (agent_steps - self._last_agent_steps) / elapsed_seconds
        score = f", return {fmean(recent_returns):.1f}" if recent_returns else ""
        left = ""
        if steps_per_second > 0:
            minutes_left = (self._total_agent_steps - agent_steps) / steps_per_second / 60
            left = f", {steps_per_second:.0f} steps/s, {minutes_left:.0f} min left"
        return f"{agent_steps:,} of {self._total_agent_steps:,} steps{score}{left}"
