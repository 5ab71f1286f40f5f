"""Checkpoints: what is read back, what is refused, and what a failed write leaves behind."""

import errno
import hashlib
import io
import itertools
import json
import os
import pickle
import resource
import tracemalloc
import zipfile

import pytest
import safetensors.torch
import torch
import zstandard

from dqn import checkpoint
from dqn.checkpoint import CheckpointError, CheckpointFormatError, manifest, segments

MEBIBYTE = 2**20


def small_state(value=0):
    return {"agent": {"weight": torch.arange(6.0) + value}, "trainer": {"value": value}}


def size_on_disk(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def assert_same(read, written):
    assert type(read) is type(written)
    if isinstance(written, dict):
        assert list(read) == list(written)
        for key, value in written.items():
            assert_same(read[key], value)
    elif isinstance(written, list | tuple):
        assert len(read) == len(written)
        for read_item, item in zip(read, written, strict=True):
            assert_same(read_item, item)
    elif isinstance(written, torch.Tensor):
        torch.testing.assert_close(read, written, rtol=0, atol=0)
    else:
        assert read == written


class Store:
    """Stands in for a replay: a ring of ``slots`` columns that forgets as it is written to."""

    def __init__(self, *, num_envs=2, slots=40, frame_shape=(300,)):
        self.num_envs, self.slots, self.frame_shape = num_envs, slots, frame_shape
        self.columns = range(0)
        self.frames = {}

    def append(self, count):
        for column in range(self.columns.stop, self.columns.stop + count):
            generator = torch.Generator().manual_seed(column)
            shape = (self.num_envs, *self.frame_shape)
            self.frames[column] = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        end = self.columns.stop + count
        self.columns = range(max(0, end - self.slots), end)
        self.frames = {column: self.frames[column] for column in self.columns}

    def read_frames(self, columns):
        if not len(columns):
            return torch.empty((self.num_envs, 0, *self.frame_shape), dtype=torch.uint8)
        return torch.stack([self.frames[column] for column in columns], dim=1)

    def write_frames(self, columns, frames):
        for index, column in enumerate(columns):
            if column in self.columns:
                self.frames[column] = frames[:, index].clone()

    def emptied(self):
        """Sized like this one, as the replay's own state makes it, with nothing in it."""
        other = Store(num_envs=self.num_envs, slots=self.slots, frame_shape=self.frame_shape)
        other.columns = self.columns
        nothing = torch.zeros((self.num_envs, *self.frame_shape), dtype=torch.uint8)
        other.frames = dict.fromkeys(self.columns, nothing)
        return other


@pytest.fixture
def small_segments(monkeypatch):
    """Blocks of 5 columns of 600 bytes, segments of 10 to 25."""
    monkeypatch.setattr(segments, "BLOCK_BYTES", 3_000)
    monkeypatch.setattr(segments, "MIN_SEGMENT_BYTES", 6_000)
    monkeypatch.setattr(segments, "MAX_SEGMENT_BYTES", 15_000)


def load_frames(path, store):
    loaded = store.emptied()
    checkpoint.load(path).load_frames(loaded)
    assert list(loaded.frames) == list(store.frames)
    for column, frame in store.frames.items():
        assert torch.equal(loaded.frames[column], frame), column


def segment_files(path):
    return {file.name: file.stat().st_ino for file in (path / "frames").iterdir()}


def test_nested_state_is_read_back_as_it_was(tmp_path):
    generator = torch.Generator().manual_seed(0)
    state = {
        "agent": {
            "network": {"weight": torch.randn(3, 4, generator=generator), "bias": torch.zeros(0)},
            "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
            "exploration": {"bit_generator": "PCG64", "state": {"state": 2**127 + 1, "inc": 5}},
        },
        "replay": {"generator": generator.get_state(), "shape": (84, 84), "dtype": torch.uint8},
        "trainer": {"is_solved": False, "best": (1.5, 200), "returns": [1.0, float("nan")][:1]},
    }
    saved = checkpoint.load(checkpoint.save(tmp_path, 7, state))
    assert_same(saved.state, state)
    assert saved.agent_steps == 7


def test_chosen_parts_are_read_without_the_others(tmp_path):
    store = Store()
    store.append(3)
    state = {"agent": {"num_updates": 3}, "replay": {"rewards": torch.zeros(1)}}
    path = checkpoint.save(tmp_path, 1, state, store)
    for file in (path / "replay.pt", *(path / "frames").iterdir()):
        file.unlink()
    assert checkpoint.load(path, keys={"agent"}).state == {"agent": {"num_updates": 3}}
    with pytest.raises(CheckpointError):
        checkpoint.load(path)


@pytest.mark.parametrize("steps", [(7,), (25, 30), (40, 1, 1, 1, 60), (9, 9, 9, 9, 9, 9, 9, 9, 9)])
def test_frames_are_read_back_whatever_was_overwritten_meanwhile(tmp_path, small_segments, steps):
    store = Store()
    for number, count in enumerate(steps):
        store.append(count)
        path = checkpoint.save(tmp_path, number, small_state(), store)
        load_frames(path, store)


def test_frames_are_taken_over_from_the_one_before_the_last(tmp_path, small_segments):
    store, files = Store(slots=1000), []
    for number in range(6):
        store.append(20)
        files.append(segment_files(checkpoint.save(tmp_path, number, small_state(), store)))
    for older, newer in zip(files, files[2:], strict=False):
        assert older.items() <= newer.items(), "the same files on the disk"
    for one, next_one in itertools.pairwise(files):
        assert not set(one.values()) & set(next_one.values()), "neighbours share no byte"


def test_cost_is_that_of_the_new_frames(tmp_path, small_segments):
    store, read = Store(slots=10_000), []
    read_frames = store.read_frames
    store.read_frames = lambda columns: read.append(len(columns)) or read_frames(columns)
    for number in range(12):
        store.append(50)
        read.clear()
        checkpoint.save(tmp_path, number, small_state(), store)
    assert sum(read) <= 100 + 1, "two periods of fifty, and one to see the shape"


def test_damaged_segment_is_not_handed_on(tmp_path, small_segments):
    store = Store(slots=1000)
    for number in range(2):
        store.append(20)
        checkpoint.save(tmp_path, number, small_state(), store)
    (segment, *_) = sorted((checkpoint.path_at(tmp_path, 0) / "frames").iterdir())
    flip(segment, segment.stat().st_size // 2)
    store.append(20)
    path = checkpoint.save(tmp_path, 2, small_state(), store)
    load_frames(path, store)


def test_file_system_without_links_gets_copies(tmp_path, small_segments, monkeypatch):
    def refuse(source, destination):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = Store(slots=1000)
    for number in range(4):
        store.append(20)
        load_frames(checkpoint.save(tmp_path, number, small_state(), store), store)


def test_frames_of_another_layout_are_refused(tmp_path):
    store = Store()
    store.append(8)
    saved = checkpoint.load(checkpoint.save(tmp_path, 1, small_state(), store))
    for other in (Store(num_envs=3), Store(frame_shape=(2, 150))):
        other.append(8)
        with pytest.raises(CheckpointError, match="holds frames"):
            saved.load_frames(other)
    shorter, longer = Store(), Store()
    shorter.append(7), longer.append(9)
    for other in (shorter, longer):
        with pytest.raises(CheckpointError, match=r"fit together|are missing"):
            saved.load_frames(other)


def test_frames_that_repeat_are_compressed(tmp_path):
    store = Store(frame_shape=(84, 84), slots=4000)
    frame = torch.randint(256, (2, 84, 84), dtype=torch.uint8)
    store.columns = range(600)
    store.frames = dict.fromkeys(range(600), frame)
    path = checkpoint.save(tmp_path, 1, {}, store)
    assert size_on_disk(path) < 600 * 2 * 84 * 84 / 50


def test_view_of_a_large_tensor_takes_little_disk(tmp_path):
    ring = torch.zeros(4, 20 * MEBIBYTE, dtype=torch.uint8)
    path = checkpoint.save(tmp_path, 1, {"replay": {"rewards": ring[:, :1000]}})
    assert size_on_disk(path) < 10_000
    assert_same(checkpoint.load(path).state["replay"]["rewards"], ring[:, :1000].clone())


def test_last_two_are_kept_in_order_of_steps_not_of_names_or_time(tmp_path):
    for agent_steps in (999_999, 1_000_000, 2_000_000):
        checkpoint.save(tmp_path, agent_steps, small_state(agent_steps))
    steps = [checkpoint.load(path).agent_steps for path in checkpoint.available(tmp_path)]
    assert steps == [1_000_000, 2_000_000]


def test_same_step_saved_again_replaces_the_first(tmp_path):
    checkpoint.save(tmp_path, 5, small_state(1))
    path = checkpoint.save(tmp_path, 5, small_state(2))
    assert_same(checkpoint.load(path).state, small_state(2))
    assert checkpoint.available(tmp_path) == [path]


def test_without_a_directory_there_is_none(tmp_path):
    assert checkpoint.available(tmp_path / "no-such-directory") == []


def noisy_checkpoint(directory, agent_steps=1):
    """Incompressible: stored as it is, so that only a checksum can tell a flipped bit."""
    store = Store(frame_shape=(20_000,))
    store.append(10)
    generator = torch.Generator().manual_seed(agent_steps)
    state = {"agent": {"weight": torch.randn(50_000, generator=generator)}, "trainer": {"n": 1}}
    return checkpoint.save(directory, agent_steps, state, store)


def flip(file, position, bit=0x10):
    content = bytearray(file.read_bytes())
    content[position] ^= bit
    file.write_bytes(content)


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


def test_weights_are_read_back_with_what_is_known_of_them(tmp_path):
    weights = {"conv": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)}
    path = tmp_path / "best.safetensors"
    checkpoint.save_weights(path, weights, {"return_mean": 17.5, "agent_steps": 100})
    read, about = checkpoint.load_weights(path)
    assert torch.equal(read["conv"], weights["conv"])
    assert about == {"return_mean": 17.5, "agent_steps": 100}
    assert torch.equal(safetensors.torch.load_file(path)["conv"], weights["conv"]), "a plain file"
    checkpoint.save_weights(path, weights, {"agent_steps": 200})
    assert checkpoint.load_weights(path)[1] == {"agent_steps": 200}
    assert list(tmp_path.iterdir()) == [path]


def test_every_flipped_bit_of_weights_is_noticed(tmp_path):
    path = tmp_path / "best.safetensors"
    checkpoint.save_weights(path, {"weight": torch.randn(300)}, {"agent_steps": 1})
    for position in range(0, path.stat().st_size, 7):
        flip(path, position, 1)
        with pytest.raises(CheckpointError, match="damaged weights"):
            checkpoint.load_weights(path)
        flip(path, position, 1)


@pytest.fixture
def full_disk():
    """The system refuses to let any file grow beyond 256 KiB; Python ignores the signal SIGXFSZ."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEBIBYTE // 4, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("too_large", ["part", "frames"])
def test_failed_write_leaves_the_earlier_checkpoint_and_nothing_else(
    tmp_path, full_disk, too_large
):
    earlier = checkpoint.save(tmp_path, 1, small_state(1))
    store = Store(frame_shape=(20_000,))
    store.append(40)
    part = torch.zeros(MEBIBYTE if too_large == "part" else 1)
    with pytest.raises(OSError, match="File too large") as error:
        checkpoint.save(tmp_path, 2, {"agent": {"weight": part}}, store)
    assert error.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == [earlier]
    assert_same(checkpoint.load(earlier).state, small_state(1))


def test_failed_rename_leaves_the_earlier_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    earlier = checkpoint.save(tmp_path, 1, small_state(1))

    def fail(source, destination):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 2, small_state(2))
    assert list(tmp_path.iterdir()) == [earlier]


def test_failed_replacement_puts_the_first_back(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, small_state(1))
    replace, count = os.replace, itertools.count(1)

    def fail_second(source, destination):
        if next(count) == 2:
            raise OSError(errno.EIO, "Input/output error")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", fail_second)
    with pytest.raises(OSError, match="Input/output"):
        checkpoint.save(tmp_path, 1, small_state(2))
    (path,) = checkpoint.available(tmp_path)
    assert_same(checkpoint.load(path).state, small_state(1))


def test_process_killed_while_replacing_loses_neither(tmp_path):
    path = checkpoint.save(tmp_path, 1, small_state(1))
    path.rename(tmp_path / f".replaced-{path.name}")
    assert checkpoint.available(tmp_path) == []
    checkpoint.sweep(tmp_path)
    assert_same(checkpoint.load(path).state, small_state(1))
    (tmp_path / f".replaced-{path.name}").mkdir()  # killed a moment later: both are there
    checkpoint.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_ignored_and_removed_by_the_next_save(tmp_path):
    unfinished = tmp_path / f"{checkpoint.TEMPORARY_PREFIX}agent_step_000000000009-1"
    (unfinished / "frames").mkdir(parents=True)
    (unfinished / "agent.pt").write_bytes(b"half of it")
    (tmp_path / f"{checkpoint.TEMPORARY_PREFIX}best.safetensors-1").write_bytes(b"half of it")
    assert checkpoint.available(tmp_path) == []
    path = checkpoint.save(tmp_path, 1, small_state())
    assert list(tmp_path.iterdir()) == [path]
