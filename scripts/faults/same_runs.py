"""Whether two runs are the same bit for bit, clocks aside."""

from pathlib import Path

import torch
from faults.tiny_runs import is_repeatable, read_lines, repeatable
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dqn import checkpoint
from dqn.run_format import (
    BEST_WEIGHTS_FILE,
    CHECKPOINTS_DIRECTORY,
    EVALUATIONS_FILE,
    METRICS_FILE,
)


class FrameNotes:
    """Stands in for a replay while the frames of a checkpoint are read."""

    def __init__(self, replay_state):
        self.state = replay_state
        num_appends, slots = replay_state["num_appends"], replay_state["slots"]
        self.columns = range(num_appends - min(num_appends, slots), num_appends)
        self.frames = {}

    def read_frames(self, columns):
        shape = (len(self.state["actions"]), len(columns), *self.state["frame_shape"])
        return torch.zeros(shape, dtype=self.state["frame_dtype"])

    def write_frames(self, columns, frames):
        for offset, column in enumerate(columns):
            if column in self.columns:
                self.frames[column] = frames[:, offset].numpy().tobytes()


def differences(one, other, where=""):
    """Every place where two nested values differ, tensors to the bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        same = same and one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()
        return [] if same else [where]
    if type(one) is not type(other):
        return [f"{where}: {type(one).__name__} and {type(other).__name__}"]
    if isinstance(one, dict):
        found = [f"{where}.{key}" for key in one.keys() ^ other.keys()]
        for key in one.keys() & other.keys():
            found += differences(one[key], other[key], f"{where}.{key}")
        return found
    if isinstance(one, list | tuple):
        found = [] if len(one) == len(other) else [f"{where}: length"]
        for index, pair in enumerate(zip(one, other, strict=False)):
            found += differences(*pair, f"{where}[{index}]")
        return found
    return [] if one == other or (one != one and other != other) else [where]


def content(run_dir: Path, spared=frozenset()):
    """All of a run that must repeat: its newest checkpoint, its lines, TensorBoard's scalars.

    ``spared`` names what is not even read: a log that was damaged on purpose.
    """
    checkpoints = run_dir / CHECKPOINTS_DIRECTORY
    newest = checkpoint.load(checkpoint.available(checkpoints)[-1])
    state = newest.state
    notes = FrameNotes(state["replay"])
    newest.load_frames(notes)
    for part in ("telemetry", "config", "software"):
        del state[part]  # sizes of files with clock times in them; names of directories
    del state["trainer"]["interval"]["elapsed_seconds"]
    weights, about = checkpoint.load_weights(checkpoints / BEST_WEIGHTS_FILE)
    logs = {
        "metrics": lambda: repeatable(read_lines(run_dir / METRICS_FILE)),
        "evaluations": lambda: read_lines(run_dir / EVALUATIONS_FILE),
        "tensorboard": lambda: scalars(run_dir),
    }
    return {
        "agent_steps": newest.agent_steps,
        "checkpoint": state,
        "frames": notes.frames,
        "best": {"weights": weights, "about": about},
        **{name: read() for name, read in logs.items() if name not in spared},
    }


def scalars(run_dir: Path):
    """TensorBoard's scalars by tag, in the order in which they are stored."""
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if is_repeatable(tag)
    }
