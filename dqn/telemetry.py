"""Where a run's numbers go: TensorBoard and ``metrics.jsonl`` behind one ``write``.

The x-axis everywhere is agent steps (decisions), never emulator frames.
"""

import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from dqn.evaluation import Evaluation
from rmsprop import Log10Histogram

METRICS_FILE = "metrics.jsonl"
EVALUATIONS_FILE = "evaluations.jsonl"
HyperparameterValue = bool | int | float | str


class Telemetry:
    """Writes one run's metrics; a resumed run goes on without gap, duplicate or step backwards.

    Each line of ``metrics.jsonl`` is an object with ``step`` (agent steps), ``frames`` (emulator
    frames), ``updates`` and the metrics by tag. Quantities that depend on the clock live under
    ``speed/`` or end in ``_seconds``; everything else repeats exactly.

    A full disk stops no training: the failure is reported once and the line is lost.

    Args:
        run_dir: the run's directory; event files, ``metrics.jsonl``, ``evaluations.jsonl``.
        frame_skip: emulator frames per agent step.
        resume_agent_steps: where a resumed run goes on (later lines are dropped), or None.
    """

    def __init__(
        self, run_dir: Path, *, frame_skip: int, resume_agent_steps: int | None = None
    ) -> None:
        self._frame_skip = frame_skip
        self._has_failed = False
        run_dir.mkdir(parents=True, exist_ok=True)
        if resume_agent_steps is not None:
            for name in (METRICS_FILE, EVALUATIONS_FILE):
                _drop_lines_after(run_dir / name, resume_agent_steps)
        self._metrics_file = (run_dir / METRICS_FILE).open("a", buffering=1, encoding="utf-8")
        self._evaluations_file = (run_dir / EVALUATIONS_FILE).open(
            "a", buffering=1, encoding="utf-8"
        )
        purge_step = None if resume_agent_steps is None else resume_agent_steps + 1
        self._tensorboard = SummaryWriter(str(run_dir), purge_step=purge_step)

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
            self._metrics_file.write(json.dumps(line) + "\n")
            for tag, value in metrics.items():
                self._tensorboard.add_scalar(tag, value, agent_steps)
        except OSError as error:
            self._report(error)

    def write_histogram(self, agent_steps: int, tag: str, histogram: Log10Histogram) -> None:
        """A ready histogram, to TensorBoard only."""
        edges, counts = histogram.bin_edges, histogram.counts
        centres = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
        weighted = list(zip(centres, counts, strict=True))
        try:
            self._tensorboard.add_histogram_raw(
                tag,
                min=edges[0],
                max=edges[-1],
                num=sum(counts),
                sum=sum(centre * count for centre, count in weighted),
                sum_squares=sum(centre**2 * count for centre, count in weighted),
                bucket_limits=edges[1:],
                bucket_counts=counts,
                global_step=agent_steps,
            )
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
            self._evaluations_file.write(json.dumps(line) + "\n")
        except OSError as error:
            self._report(error)
        self.write(
            agent_steps,
            num_updates,
            {
                "eval/return_mean": evaluation.return_mean,
                "eval/return_std": evaluation.return_std,
                "eval/length_mean": sum(evaluation.lengths) / len(evaluation.lengths),
                "speed/evaluation_seconds": elapsed_seconds,
            },
        )

    def write_hyperparameters(self, hyperparameters: Mapping[str, HyperparameterValue]) -> None:
        """The run's row in TensorBoard's HPARAMS page, whose metric is read off the live scalar.

        ``SummaryWriter.add_hparams`` would add a second run named after the clock; writing its
        three records into our own file keeps one run one entry.
        """
        records = hparams(dict(hyperparameters), {"eval/return_mean": None})  # type: ignore[no-untyped-call]
        file_writer = self._tensorboard.file_writer
        assert file_writer is not None  # None only once closed.
        for record in records:
            file_writer.add_summary(record)

    def write_layout(self, parameter_names: Sequence[str]) -> None:
        """TensorBoard's CUSTOM SCALARS page: returns first, then the rates' band of each layer."""
        bands = {
            name: ["Margin", [f"effective_lr/{name}/{q}" for q in ("p50", "p05", "p95")]]
            for name in parameter_names
        }
        returns = {"return": ["Multiline", ["episode/return", "eval/return_mean"]]}
        ratios = {
            "update_ratio": ["Multiline", [f"update_ratio/{name}" for name in parameter_names]],
            "effective_lr_eps_bound": [
                "Multiline",
                [f"effective_lr_eps_bound/{name}" for name in parameter_names],
            ],
        }
        self._tensorboard.add_custom_scalars(
            {"Effective learning rates beside the return": returns | bands, "Updates": ratios}
        )

    def flush(self) -> None:
        """Make everything written so far survive the process."""
        try:
            self._metrics_file.flush()
            self._evaluations_file.flush()
            self._tensorboard.flush()
        except OSError as error:
            self._report(error)

    def close(self) -> None:
        """Flush and let go of the files."""
        self.flush()
        for file in (self._metrics_file, self._evaluations_file, self._tensorboard):
            try:
                file.close()
            except OSError as error:
                self._report(error)

    def _position(self, agent_steps: int, num_updates: int) -> dict[str, object]:
        return {
            "step": agent_steps,
            "frames": agent_steps * self._frame_skip,
            "updates": num_updates,
        }

    def _report(self, error: OSError) -> None:
        if not self._has_failed:
            self._has_failed = True
            print(f"warning: metrics are being lost, training goes on: {error}", file=sys.stderr)


def _drop_lines_after(path: Path, agent_steps: int) -> None:
    """Keep the lines up to ``agent_steps``, also where the last one was cut short by a crash."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            step = json.loads(line)["step"]
        except (json.JSONDecodeError, KeyError, TypeError):
            break
        if line.endswith("\n") and step <= agent_steps:
            kept.append(line)
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    os.replace(temporary, path)
