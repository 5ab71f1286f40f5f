"""Stopping on request: signals become a flag that the training loop reads at its safe points."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from dqn.system.exit_status import signal_status

# Terminals, schedulers and preempting clusters send these: SIGUSR2 is submitit's, SIGUSR1 the
# usual `sbatch --signal` of other frameworks.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StopRequest:
    """While entered, the first stop signal sets ``signal_number`` and nothing else.

    A second one meets the handlers that stood before, so that a second Ctrl-C stops at once.
    Signals that were blocked before count too: entering lets them through.
    Outside the main thread, where Python allows no handlers, it is never set.

    >>> with StopRequest() as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stop.is_set(), stop.exit_status
    (True, 143)
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._previous_handlers: dict[signal.Signals, object] = {}
        self._met_handler: object = None

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self.signal_number is not None

    @property
    def exit_status(self) -> int:
        """Of the signal: 130 for SIGINT, 143 for SIGTERM; 128 where none came."""
        return signal_status(self.signal_number or 0)

    def forward(self) -> None:
        """Call the handler that the signal would have met: a launcher's, which requeues the job.

        The caller has saved everything before. Python's own handler of Ctrl-C is not called: it
        only ends the process, which the caller does with the right exit status.
        """
        handler = self._met_handler
        if callable(handler) and handler is not signal.default_int_handler:
            handler(self.signal_number, None)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous_handlers[number] = signal.signal(number, self._handle)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # The handler only sets a flag: saving in here would see half-written state.
        self.signal_number = number
        self._met_handler = self._previous_handlers.get(signal.Signals(number))
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous_handlers.clear()
