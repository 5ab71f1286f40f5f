"""Damaged, foreign and hostile checkpoints: noticed, named, and nothing they hold is executed."""

import hashlib
import io
import json
import os
import pickle
import tracemalloc
import zipfile

import pytest
import torch
import zstandard
from helpers.small_checkpoints import Store, flip, noisy_checkpoint, small_state

from dqn import checkpoint
from dqn.checkpoint import CheckpointError, manifest
from dqn.checkpoint.errors import CheckpointFormatError

MEBIBYTE = 2**20


FILES = ("manifest.json", "agent.pt", "trainer.pt", "frames/000000000000-000000000010.zst")


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_noticed(tmp_path, name):
    file = noisy_checkpoint(tmp_path) / name
    size = file.stat().st_size
    for position in range(0, size, max(1, size // 60)):
        bit = 1 << position % 8
        flip(file, position, bit)
        with pytest.raises(CheckpointError):
            checkpoint.load(file.parents[name.count("/")])
        flip(file, position, bit)
    checkpoint.load(file.parents[name.count("/")])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["empty", "half", "almost", "longer", "missing", "link", "pipe"])
def test_damaged_file_is_noticed_and_named(tmp_path, name, damage):
    path = noisy_checkpoint(tmp_path)
    file = path / name
    size = file.stat().st_size
    if damage in ("empty", "half", "almost"):
        os.truncate(file, {"empty": 0, "half": size // 2, "almost": size - 1}[damage])
    elif damage == "longer":
        with file.open("ab") as opened:
            opened.write(b"x")
    else:
        file.rename(tmp_path / "elsewhere")
        if damage == "link":
            file.symlink_to(tmp_path / "elsewhere")
        elif damage == "pipe":
            os.mkfifo(file)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_newest_gives_way_to_the_one_before_with_a_warning(tmp_path, capsys):
    for agent_steps in (1, 2):
        path = noisy_checkpoint(tmp_path, agent_steps)
    flip(path / "agent.pt", 1000)
    assert checkpoint.load_newest(tmp_path).agent_steps == 1
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {path}: damaged checkpoint (agent.pt has a wrong checks")
    checkpoint.set_aside_after(tmp_path, checkpoint.path_at(tmp_path, 1))
    assert [p.name for p in checkpoint.available(tmp_path)] == ["agent_step_000000000001"]
    noisy_checkpoint(tmp_path, 2)
    assert len(list(tmp_path.iterdir())) == 2, "the damaged one goes with the next save"


def test_earlier_format_is_refused_with_both_numbers(tmp_path):
    path = checkpoint.path_at(tmp_path, 1)
    path.mkdir()
    torch.save({"format": 1, "state": {}}, path / "state.pt")
    with pytest.raises(CheckpointFormatError, match=r"checkpoint format 1, .* reads format 2"):
        checkpoint.load(path)


def test_later_format_is_refused_and_never_passed_over(tmp_path):
    checkpoint.save(tmp_path, 1, small_state())
    later = checkpoint.path_at(tmp_path, 2)
    later.mkdir()
    manifest.write_manifest(later, {"format": 99, "agent_steps": 2, "parts": {}})
    with pytest.raises(CheckpointFormatError, match=r"checkpoint format 99, .* reads format 2"):
        checkpoint.load_newest(tmp_path)


class MakesDirectory:
    """Pickled, it makes a directory when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def forge(path, name, content):
    """Put a file of one's own into a checkpoint, manifest and all, as a stranger could."""
    entries = json.loads((path / "manifest.json").read_text())
    (path / name).write_bytes(content)
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if name.endswith(".pt"):
        entries["parts"][name.removesuffix(".pt")] = entry
    else:
        entries["frames"]["segments"][0]["file"] = entry
    write_forged_manifest(path, entries)


def write_forged_manifest(path, entries):
    entries.pop("checksum", None)
    (path / "manifest.json").unlink()
    manifest.write_manifest(path, entries)


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_a_checkpoint_holds_is_executed(tmp_path, protocol):
    path = noisy_checkpoint(tmp_path)
    trap = tmp_path / "executed"
    buffer = io.BytesIO()
    torch.save({"weight": MakesDirectory(trap)}, buffer, pickle_protocol=protocol)
    for content in (buffer.getvalue(), pickle.dumps(MakesDirectory(trap), protocol)):
        forge(path, "agent.pt", content)
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
        assert not trap.exists()


def test_compressed_record_is_refused_before_it_can_grow(tmp_path):
    path = noisy_checkpoint(tmp_path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (64 * MEBIBYTE))
    assert len(buffer.getvalue()) < MEBIBYTE
    forge(path, "agent.pt", buffer.getvalue())
    with pytest.raises(CheckpointError, match="holds a compressed record"):
        checkpoint.load(path)


def test_frames_grow_no_further_than_the_replay_that_takes_them(tmp_path):
    """A stream of gigabytes in a few hundred kilobytes: what is not asked for stays compressed."""
    store = Store(frame_shape=(20_000,))
    store.append(10)
    path = noisy_checkpoint(tmp_path)
    bomb = zstandard.ZstdCompressor().compress(b"\0" * (256 * MEBIBYTE))
    forge(path, FILES[-1], bomb)
    loaded = store.emptied()
    tracemalloc.start()
    checkpoint.load(path).load_frames(loaded)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * MEBIBYTE
    assert not any(frame.any() for frame in loaded.frames.values())


@pytest.mark.parametrize(
    ("key", "value"),
    [("begin", -(10**15)), ("end", 10**15), ("block", 10**12), ("block", 0), ("begin", 5)],
)
def test_claims_about_frames_are_held_against_the_replay(tmp_path, key, value):
    store = Store(frame_shape=(20_000,))
    store.append(10)
    path = noisy_checkpoint(tmp_path)
    entries = json.loads((path / "manifest.json").read_text())
    entries["frames"]["segments"][0][key] = value
    write_forged_manifest(path, entries)
    with pytest.raises(CheckpointError):
        checkpoint.load(path).load_frames(store.emptied())


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/passwd", "a/b", "..", ""])
def test_manifest_names_no_file_outside(tmp_path, name):
    path = noisy_checkpoint(tmp_path)
    for key in ("parts", "frames"):
        entries = json.loads((path / "manifest.json").read_text())
        if key == "parts":
            entries["parts"][name] = entries["parts"]["agent"]
        else:
            entries["frames"]["segments"][0]["name"] = name
        write_forged_manifest(path, entries)
        with pytest.raises(CheckpointError, match="names a"):
            checkpoint.load(path)


def test_every_flipped_bit_of_weights_is_noticed(tmp_path):
    path = tmp_path / "best.safetensors"
    checkpoint.save_weights(path, {"weight": torch.randn(300)}, {"agent_steps": 1})
    for position in range(0, path.stat().st_size, 7):
        flip(path, position, 1)
        with pytest.raises(CheckpointError, match="damaged weights"):
            checkpoint.load_weights(path)
        flip(path, position, 1)
