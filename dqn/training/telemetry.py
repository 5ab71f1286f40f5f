"""Where a run's numbers go: TensorBoard and ``metrics.jsonl`` behind one ``write``.

The x-axis everywhere is agent steps (decisions), never emulator frames.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from dqn.evaluation.whole_games import Evaluation
from dqn.run_format import (
    EFFECTIVE_LR_QUANTILES,
    EPISODE_RETURN,
    EVALUATION_LENGTH_MEAN,
    EVALUATION_RETURN_MEAN,
    EVALUATION_RETURN_STD,
    EVALUATION_SECONDS,
    EVALUATIONS_FILE,
    EVENT_FILES,
    METRICS_FILE,
    effective_lr_tag,
    eps_bound_tag,
    update_ratio_tag,
)
from dqn.system.line_file import LineFile, LinePosition
from rmsprop import Log10Histogram

HyperparameterValue = bool | int | float | str
# For the next second; longer only where the clock was set back.
_MAX_WAIT_SECONDS = 1.1


class TelemetryPosition(TypedDict):
    """How far the files had come at a checkpoint.

    Attributes:
        agent_steps: of the run.
        metrics, evaluations: of the two files of lines.
        events: size in bytes of each TensorBoard file.
    """

    agent_steps: int
    metrics: LinePosition
    evaluations: LinePosition
    events: dict[str, int]


class Telemetry:
    """Writes one run's metrics; a resumed run goes on without gap, duplicate or step backwards.

    Each line of ``metrics.jsonl`` is an object with ``step`` (agent steps), ``frames`` (emulator
    frames), ``updates`` and the metrics by tag. Quantities that depend on the clock live under
    ``speed/`` or end in ``_seconds``; everything else repeats exactly.

    A full disk stops no training: the failure is reported, lines wait in memory and are written
    when there is room; TensorBoard lacks what was logged meanwhile.

    Args:
        run_dir: the run's directory; event files, ``metrics.jsonl``, ``evaluations.jsonl``.
        frame_skip: emulator frames per agent step.
        position: where a resumed run goes on, as ``position`` gave it: every file is cut to what
            it was then. None to begin empty files.
    """

    def __init__(
        self, run_dir: Path, *, frame_skip: int, position: TelemetryPosition | None = None
    ) -> None:
        self._run_dir = run_dir
        self._frame_skip = frame_skip
        self._has_failed = False
        run_dir.mkdir(parents=True, exist_ok=True)
        if position is not None:
            _cut_event_files(run_dir, position["events"])
        self._metrics_file = LineFile(
            run_dir / METRICS_FILE, None if position is None else position["metrics"]
        )
        self._evaluations_file = LineFile(
            run_dir / EVALUATIONS_FILE, None if position is None else position["evaluations"]
        )
        for name, file in (
            (METRICS_FILE, self._metrics_file),
            (EVALUATIONS_FILE, self._evaluations_file),
        ):
            if not file.is_as_saved:
                print(
                    f"warning: {run_dir / name} is not what this run had written up to its "
                    "checkpoint; its lines are kept as they are",
                    file=sys.stderr,
                )
        # A TensorBoard that is open now has read what has just been cut off.
        purge_step = None if position is None else position["agent_steps"] + 1
        self._tensorboard = _open_tensorboard(run_dir, purge_step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, agent_steps: int, num_updates: int, metrics: Mapping[str, float]) -> None:
        """One line of ``metrics.jsonl`` and one TensorBoard scalar for each metric."""
        line = self._position(agent_steps, num_updates) | dict(metrics)
        try:
            self._metrics_file.write(json.dumps(line))
        except OSError as error:
            self._report(error)
        try:
            for tag, value in metrics.items():
                self._tensorboard.add_scalar(tag, value, agent_steps)
        except OSError as error:
            self._report(error)

    def write_histogram(self, agent_steps: int, tag: str, histogram: Log10Histogram) -> None:
        """A ready histogram, to TensorBoard only; nothing if it is empty."""
        raw = histogram.tensorboard()
        if raw is None:
            return
        try:
            self._tensorboard.add_histogram_raw(tag, **raw, global_step=agent_steps)
        except OSError as error:
            self._report(error)

    def write_evaluation(
        self, agent_steps: int, num_updates: int, evaluation: Evaluation, *, elapsed_seconds: float
    ) -> None:
        """Every game's score to ``evaluations.jsonl``, the summary to the metrics."""
        line = self._position(agent_steps, num_updates) | {
            "return_mean": evaluation.return_mean,
            "return_std": evaluation.return_std,
            "returns": evaluation.returns,
            "lengths": evaluation.lengths,
        }
        try:
            self._evaluations_file.write(json.dumps(line))
        except OSError as error:
            self._report(error)
        self.write(
            agent_steps,
            num_updates,
            {
                EVALUATION_RETURN_MEAN: evaluation.return_mean,
                EVALUATION_RETURN_STD: evaluation.return_std,
                EVALUATION_LENGTH_MEAN: sum(evaluation.lengths) / len(evaluation.lengths),
                EVALUATION_SECONDS: elapsed_seconds,
            },
        )

    def write_hyperparameters(self, hyperparameters: Mapping[str, HyperparameterValue]) -> None:
        """The run's row in TensorBoard's HPARAMS page, whose metric is read off the live scalar.

        ``SummaryWriter.add_hparams`` would add a second run named after the clock; writing its
        three records into our own file keeps one run one entry.
        """
        records = hparams(dict(hyperparameters), {EVALUATION_RETURN_MEAN: None})  # type: ignore[no-untyped-call]
        file_writer = self._tensorboard.file_writer
        assert file_writer is not None  # None only once closed.
        for record in records:
            file_writer.add_summary(record)

    def write_layout(self, parameter_names: Sequence[str]) -> None:
        """TensorBoard's CUSTOM SCALARS page: returns first, then the rates' band of each layer."""
        low, median, high = EFFECTIVE_LR_QUANTILES
        bands = {
            name: ["Margin", [effective_lr_tag(name, q) for q in (median, low, high)]]
            for name in parameter_names
        }
        returns = {"return": ["Multiline", [EPISODE_RETURN, EVALUATION_RETURN_MEAN]]}
        ratios = {
            "update_ratio": ["Multiline", [update_ratio_tag(name) for name in parameter_names]],
            "effective_lr_eps_bound": [
                "Multiline",
                [eps_bound_tag(name) for name in parameter_names],
            ],
        }
        self._tensorboard.add_custom_scalars(
            {"Effective learning rates beside the return": returns | bands, "Updates": ratios}
        )

    def flush(self) -> None:
        """Make everything written so far survive the process and the machine."""
        try:
            self._metrics_file.flush()
            self._evaluations_file.flush()
            if self._has_failed:
                # TensorBoard's writer refuses everything after its first failure.
                self._reopen_tensorboard()
            self._tensorboard.flush()
            for path in _events(self._run_dir):
                _sync(path)
            self._has_failed = False
        except OSError as error:
            self._report(error)

    def position(self, agent_steps: int) -> TelemetryPosition:
        """Where the files stand, for the checkpoint that is written after ``flush``."""
        return {
            "agent_steps": agent_steps,
            "metrics": self._metrics_file.position(),
            "evaluations": self._evaluations_file.position(),
            "events": {path.name: path.stat().st_size for path in _events(self._run_dir)},
        }

    def close(self) -> None:
        """Flush and let go of the files."""
        self.flush()
        for file in (self._metrics_file, self._evaluations_file, self._tensorboard):
            try:
                file.close()
            except OSError as error:
                self._report(error)

    def _reopen_tensorboard(self) -> None:
        with contextlib.suppress(OSError):
            self._tensorboard.close()
        self._tensorboard = _open_tensorboard(self._run_dir, None)

    def _position(self, agent_steps: int, num_updates: int) -> dict[str, object]:
        return {
            "step": agent_steps,
            "frames": agent_steps * self._frame_skip,
            "updates": num_updates,
        }

    def _report(self, error: OSError) -> None:
        if not self._has_failed:
            self._has_failed = True
            print(
                f"warning: metrics cannot be written and wait in memory, training goes on: {error}",
                file=sys.stderr,
            )


def _open_tensorboard(run_dir: Path, purge_step: int | None) -> SummaryWriter:
    """A new event file, which TensorBoard reads after the others.

    It reads them in the order of their names, which begin with the second: of two that were begun
    in the same one, it might read the later first.
    """
    deadline = time.monotonic() + _MAX_WAIT_SECONDS
    while (
        any(path.name.split(".")[3] >= f"{int(time.time()):010d}" for path in _events(run_dir))
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    return SummaryWriter(str(run_dir), purge_step=purge_step)


def _events(run_dir: Path) -> list[Path]:
    return list(run_dir.glob(EVENT_FILES))


def _cut_event_files(run_dir: Path, sizes: Mapping[str, int]) -> None:
    """Cut TensorBoard's files to what they were, and remove those that were not there."""
    for path in _events(run_dir):
        if path.name not in sizes:
            path.unlink()
        elif path.stat().st_size > sizes[path.name]:
            os.truncate(path, sizes[path.name])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
