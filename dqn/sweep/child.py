"""``python -m dqn.sweep.child CONFIG LABEL``: one run of a sweep, in the process made for it.

Exit status: that of ``dqn-train``.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from dqn.config import ConfigError, load_train_config
from dqn.system.exit_status import BAD_INPUT_STATUS
from dqn.system.stopping import STOP_SIGNALS

POLL_SECONDS = 1.0


def main(config_path: str, label: str) -> None:
    """Train as ``config_path`` says, until the end, a signal, or the death of the worker."""
    # A signal that comes while PyTorch and a checkpoint load waits until training can obey it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    # A second signal meets the handlers that training finds, which must not end the process while
    # it saves: a scheduler tells every process of a job, and the worker tells this one too.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # The launcher worker's pid. If our parent changes, the worker has died and this process must
    # stop.
    worker = os.getppid()
    threading.Thread(target=_stop_without, args=(worker,), daemon=True).start()
    # Imported after the signals are held back, because PyTorch takes seconds.
    from dqn.run.lifecycle import train

    try:
        train(load_train_config(Path(config_path)), label=label)
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(BAD_INPUT_STATUS)


def _stop_without(worker: int) -> None:
    """Ask this process to stop, as its worker would, when the worker is gone."""
    while os.getppid() == worker:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
