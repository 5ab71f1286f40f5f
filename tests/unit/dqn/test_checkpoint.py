"""Checkpoints: what is read back, what is refused, and what a failed write leaves behind."""

import errno
import os
import resource

import pytest
import torch

from dqn import checkpoint
from dqn.checkpoint import CheckpointError

MEBIBYTE = 2**20


def small_state(value=0):
    return {"agent": {"weight": torch.arange(6.0) + value}, "agent_steps": value}


def size_on_disk(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def assert_same(read, written):
    assert type(read) is type(written)
    if isinstance(written, dict):
        assert list(read) == list(written)
        for key, value in written.items():
            assert_same(read[key], value)
    elif isinstance(written, torch.Tensor):
        torch.testing.assert_close(read, written, rtol=0, atol=0)
    else:
        assert read == written


def test_nested_state_is_read_back_as_it_was(tmp_path):
    generator = torch.Generator().manual_seed(0)
    state = {
        "agent": {
            "network": {"weight": torch.randn(3, 4, generator=generator), "bias": torch.zeros(0)},
            "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
            "exploration": {"bit_generator": "PCG64", "state": {"state": 2**127 + 1, "inc": 5}},
        },
        "replay": {
            # Large, incompressible, and not contiguous: seven of nine columns of a ring.
            "frames": torch.randint(256, (3, 9, MEBIBYTE), dtype=torch.uint8, generator=generator)[
                :, :7
            ],
            "rewards": torch.randn(2, 3 * MEBIBYTE, generator=generator),
            "generator": generator.get_state(),
        },
        "agent_steps": 7,
        "is_solved": False,
    }
    assert not state["replay"]["frames"].is_contiguous()
    path = checkpoint.save(tmp_path, 7, state)
    assert len(list((path / "tensors").iterdir())) == 2, "two tensors are above the threshold"
    assert_same(checkpoint.load(path), state)


def test_chosen_keys_are_read_without_the_others(tmp_path):
    state = {
        "agent": {"num_updates": 3},
        "replay": torch.zeros(1, 17 * MEBIBYTE, dtype=torch.uint8),
    }
    path = checkpoint.save(tmp_path, 1, state)
    (path / "tensors" / "0.zst").unlink()
    assert checkpoint.load(path, keys={"agent"}) == {"agent": {"num_updates": 3}}
    with pytest.raises(CheckpointError):
        checkpoint.load(path)


def test_ring_that_has_just_begun_takes_little_disk(tmp_path):
    ring = torch.zeros(4, 20 * MEBIBYTE, dtype=torch.uint8)
    path = checkpoint.save(tmp_path, 1, {"frames": ring[:, :1000]})
    assert size_on_disk(path) < 10_000
    assert_same(checkpoint.load(path)["frames"], ring[:, :1000].clone())


def test_frames_that_repeat_are_compressed(tmp_path):
    frame = torch.randint(256, (1, 2**16), dtype=torch.uint8)
    path = checkpoint.save(tmp_path, 1, {"frames": frame.repeat(1, 512)})
    assert size_on_disk(path) < 32 * MEBIBYTE / 50


def test_last_two_are_kept_in_order_of_steps_not_of_names_or_time(tmp_path):
    for agent_steps in (999_999, 1_000_000, 2_000_000):
        checkpoint.save(tmp_path, agent_steps, small_state(agent_steps))
    steps = [checkpoint.load(path)["agent_steps"] for path in checkpoint.available(tmp_path)]
    assert steps == [1_000_000, 2_000_000]


def test_same_step_saved_again_replaces_the_first(tmp_path):
    checkpoint.save(tmp_path, 5, small_state(1))
    path = checkpoint.save(tmp_path, 5, small_state(2))
    assert_same(checkpoint.load(path), small_state(2))
    assert checkpoint.available(tmp_path) == [path]


def test_without_a_directory_there_is_none(tmp_path):
    assert checkpoint.available(tmp_path / "no-such-directory") == []


def noise():
    """Incompressible: stored as it is, so that only a checksum can tell a flipped bit."""
    return {
        "weight": torch.randn(100_000),
        "frames": torch.randint(256, (1, 17 * MEBIBYTE), dtype=torch.uint8),
    }


@pytest.fixture(params=["state.pt", "tensors/0.zst"])
def damageable(request, tmp_path):
    """A checkpoint and one of its files."""
    path = checkpoint.save(tmp_path, 1, noise())
    return path, path / request.param


def test_a_flipped_bit_is_refused_unless_it_means_nothing(tmp_path):
    state = noise()
    path = checkpoint.save(tmp_path, 1, state)
    for name in ("state.pt", "tensors/0.zst"):
        content = (path / name).read_bytes()
        num_refused = 0
        for position in range(0, len(content), len(content) // 20):
            damaged = bytearray(content)
            damaged[position] ^= 0x10
            (path / name).write_bytes(damaged)
            try:
                read = checkpoint.load(path)
            except CheckpointError:
                num_refused += 1
            else:
                assert_same(read, state)  # it hit padding between records
        assert num_refused >= 19
        (path / name).write_bytes(content)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_refused(damageable, share):
    path, file = damageable
    os.truncate(file, int(share * file.stat().st_size))
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_refused(damageable):
    path, file = damageable
    file.unlink()
    with pytest.raises(CheckpointError):
        checkpoint.load(path)


def test_another_format_is_refused_with_both_numbers(tmp_path):
    path = checkpoint.save(tmp_path, 1, small_state())
    torch.save({"format": 99, "state": {}}, path / "state.pt")
    with pytest.raises(CheckpointError, match="checkpoint format 99, this version reads 1"):
        checkpoint.load(path)


class MakesDirectory:
    """Pickled, it makes a directory when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_a_checkpoint_holds_is_executed(tmp_path):
    path = checkpoint.save(tmp_path, 1, small_state())
    trap = tmp_path / "executed"
    torch.save({"format": 1, "state": {"agent": MakesDirectory(trap)}}, path / "state.pt")
    with pytest.raises(CheckpointError):
        checkpoint.load(path)
    assert not trap.exists()


@pytest.fixture
def full_disk():
    """The system refuses to let any file grow beyond 256 KiB; Python ignores the signal SIGXFSZ."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEBIBYTE // 4, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "too_large",
    [torch.zeros(MEBIBYTE), torch.randint(256, (1, 17 * MEBIBYTE), dtype=torch.uint8)],
    ids=["small tensors", "compressed tensors"],
)
def test_failed_write_leaves_the_earlier_checkpoint_and_nothing_else(
    tmp_path, full_disk, too_large
):
    earlier = checkpoint.save(tmp_path, 1, small_state(1))
    with pytest.raises(OSError, match="File too large") as error:
        checkpoint.save(tmp_path, 2, {"large": too_large})
    assert error.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == [earlier]
    assert_same(checkpoint.load(earlier), small_state(1))


def test_failed_rename_leaves_the_earlier_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    earlier = checkpoint.save(tmp_path, 1, small_state(1))

    def fail(source, destination):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 2, small_state(2))
    assert list(tmp_path.iterdir()) == [earlier]


def test_what_a_killed_process_left_is_ignored_and_removed_by_the_next_save(tmp_path):
    unfinished = tmp_path / f"{checkpoint.TEMPORARY_PREFIX}agent_step_000000000009-1"
    (unfinished / "tensors").mkdir(parents=True)
    (unfinished / "state.pt").write_bytes(b"half of it")
    assert checkpoint.available(tmp_path) == []
    path = checkpoint.save(tmp_path, 1, small_state())
    assert list(tmp_path.iterdir()) == [path]
