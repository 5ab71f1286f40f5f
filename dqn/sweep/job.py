"""One run of a sweep: skipped if it is finished, else trained, and always recorded.

A sweep is the product of Hydra's overrides on one of Hydra's launchers; this module is what each of
its jobs does, whichever launcher started it::

    finished before?   -> its result is read, nothing is run
    else               -> python -m dqn.sweep.child CONFIG LABEL, which starts or continues the run
    ended how?         -> <sweep>/.sweep/0007.json: finished, failed (with the error) or stopped

A process of its own can run out of memory, crash or be killed without taking a launcher's worker
with it, which would end the whole sweep (joblib). It stops, with a checkpoint, when the sweep is
stopped and when whoever started it is gone.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from dqn.config import (
    ConfigError,
    TrainConfig,
    load_config,
    save_config,
)
from dqn.run_format import CONFIG_FILE, EVALUATIONS_FILE, RESULT_FILE
from dqn.saved_config import CHOICE_KEYS, flatten, upgrade
from dqn.sweep.records import STOP_FILE, RecordWriter, write_json
from dqn.sweep.training_process import RunFailed, RunStopped, train_in_process, worker_is_orphan


def run_job(
    validate: Callable[[], TrainConfig],
    label: Callable[[TrainConfig], str],
    *,
    number: int,
    name: str,
    sweep_dir: Path,
) -> float:
    """Run one job of a sweep to its end, in whatever state it stands, and record it.

    Args:
        validate: checks and returns the configuration.
        label: what progress lines call the run.
        number: of the job in the sweep.
        name: what distinguishes it, for people.
        sweep_dir: where its record goes.

    Returns:
        Mean return of its last evaluation.

    Raises:
        ConfigError: its configuration is refused, or its directory holds another run.
        RunFailed: it did not finish: it failed, was killed or was stopped.
    """
    record = RecordWriter(sweep_dir, number=number, name=name)
    try:
        config = validate()
        record.describe(run_dir=config.run_dir, total_agent_steps=config.total_agent_steps)
        return_mean = finished_return_mean(config)
        was_skipped = return_mean is not None
        if return_mean is None:
            _train(config, label(config), record)
            return_mean = _write_result(config)
    except ConfigError as error:
        record.write("failed", error=str(error))
        raise
    except RunStopped as error:
        record.write("stopped", error=str(error))
        raise RunFailed(f"{name}: {error}") from None
    except RunFailed as error:
        record.write("failed", error=str(error))
        raise RunFailed(f"{name}: {error}") from None
    record.write("finished", return_mean=return_mean, was_skipped=was_skipped)
    return return_mean


def finished_return_mean(config: TrainConfig) -> float | None:
    """The result of a run that an earlier sweep finished with this very configuration, else None.

    The result is believed only beside the configuration and the evaluation that it was written
    for: another command may have changed the run since.
    """
    run_dir = Path(config.run_dir)
    try:
        result = json.loads((run_dir / RESULT_FILE).read_text(encoding="utf-8"))
        written_for = _result(run_dir, flatten(load_config(run_dir / CONFIG_FILE)))
        is_ours = _constants(result) == _constants(written_for)
    except (OSError, ValueError, LookupError, AttributeError):  # ConfigError is a ValueError.
        return None
    asked = {**result, "config": flatten(asdict(config))}
    if config.overwrite or not is_ours or _constants(result) != _constants(asked):
        return None
    return float(result["return_mean"])


def _train(config: TrainConfig, label: str, record: RecordWriter) -> None:
    """Train in a process of its own, whose configuration and log lie beside the record."""
    stop_path = record.path.with_name(STOP_FILE)
    if stop_path.exists() or worker_is_orphan():
        raise RunStopped("not started: the sweep was stopped")
    record.write("running")
    config_path = record.path.with_suffix(".yaml")
    save_config(config, config_path)
    train_in_process(config_path, label, record.path.with_suffix(".log"), stop_path)


def _write_result(config: TrainConfig) -> float:
    """Mark the run as finished; of one without the mark, the next sweep asks its checkpoint.

    Returns:
        Mean return of its last evaluation, NaN where a full disk has lost it.
    """
    run_dir = Path(config.run_dir)
    return_mean = math.nan
    try:
        result = _result(run_dir, flatten(asdict(config)))
        return_mean = float(cast(float, result["return_mean"]))
        write_json(run_dir / RESULT_FILE, result)
    except (OSError, ValueError, IndexError) as error:
        print(f"warning: {run_dir} is not marked as finished: {error}", file=sys.stderr)
    return return_mean


def _constants(result: Mapping[str, Any]) -> dict[str, object]:
    """A result in today's keys, without the names of what was chosen, which decide nothing."""
    flat = upgrade(result["config"])
    constants = {key: value for key, value in flat.items() if key not in CHOICE_KEYS}
    return {**result, "config": constants}


def _result(run_dir: Path, flat_config: dict[str, object]) -> dict[str, object]:
    lines = (run_dir / EVALUATIONS_FILE).read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    return {"step": last["step"], "return_mean": last["return_mean"], "config": flat_config}
