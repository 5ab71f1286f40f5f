"""Checkpoints: what is read back, and what a failed write leaves behind."""

import errno
import itertools
import os
import resource

import pytest
import safetensors.torch
import torch
from helpers.small_checkpoints import Store, flip, small_state

from dqn import checkpoint
from dqn.checkpoint import CheckpointError, segments
from dqn.checkpoint.store import TEMPORARY_PREFIX

MEBIBYTE = 2**20


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
    checkpoint.tidy(tmp_path)
    assert_same(checkpoint.load(path).state, small_state(1))
    (tmp_path / f".replaced-{path.name}").mkdir()  # killed a moment later: both are there
    checkpoint.tidy(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_ignored_and_removed_by_the_next_save(tmp_path):
    unfinished = tmp_path / f"{TEMPORARY_PREFIX}agent_step_000000000009-1"
    (unfinished / "frames").mkdir(parents=True)
    (unfinished / "agent.pt").write_bytes(b"half of it")
    (tmp_path / f"{TEMPORARY_PREFIX}best.safetensors-1").write_bytes(b"half of it")
    assert checkpoint.available(tmp_path) == []
    path = checkpoint.save(tmp_path, 1, small_state())
    assert list(tmp_path.iterdir()) == [path]
