"""Replay by hand: stacks at a game's edges, the write head, uniformity, memory, resuming."""

import io
from collections import Counter

import numpy as np
import pytest
import torch
from helpers.replays import check_valid, fields_of, uniform_replay

from dqn.replay import Replay, bytes_per_transition, ring


def _replay(
    *, num_envs: int = 1, capacity: int = 100, stack_size: int = 4, seed: int = 0
) -> Replay:
    """A replay of scalar frames, so that a frame is a number."""
    return uniform_replay(
        num_envs=num_envs,
        capacity=capacity,
        frame_shape=(),
        frame_dtype=torch.int64,
        stack_size=stack_size,
        seed=seed,
    )


def _append(
    replay: Replay,
    frame: int,
    *,
    first: bool = False,
    terminal: bool = False,
    transition: bool = True,
) -> None:
    """One agent step of a single environment; the action and reward tell the frame."""
    replay.append(
        frame_tm1=np.array([frame]),
        is_first_tm1=np.array([first]),
        action_tm1=np.array([frame * 10]),
        reward_t=np.array([frame / 2], np.float32),
        is_terminal_t=np.array([terminal]),
        is_transition=np.array([transition]),
    )
    check_valid(replay)


def _transitions(replay: Replay) -> dict[int, tuple[list[int], list[int], float, bool]]:
    """Every transition that sampling finds, by its action."""
    batch = replay.sample(64 * len(replay))
    rows = zip(*(field.tolist() for field in batch[:6]), strict=True)
    return {a_tm1: (s_tm1, s_t, r_t, terminal) for s_tm1, a_tm1, r_t, terminal, s_t, _ in rows}


def test_stacks_before_the_fourth_frame_are_padded_with_zeros() -> None:
    replay = _replay()
    for frame in range(1, 7):
        _append(replay, frame, first=frame == 1)
    assert _transitions(replay) == {
        10: ([0, 0, 0, 1], [0, 0, 1, 2], 0.5, False),
        20: ([0, 0, 1, 2], [0, 1, 2, 3], 1.0, False),
        30: ([0, 1, 2, 3], [1, 2, 3, 4], 1.5, False),
        40: ([1, 2, 3, 4], [2, 3, 4, 5], 2.0, False),
        50: ([2, 3, 4, 5], [3, 4, 5, 6], 2.5, False),
    }


def test_a_game_over_ends_the_return_and_the_next_game_starts_from_zeros() -> None:
    replay = _replay(stack_size=3)
    _append(replay, 1, first=True)
    _append(replay, 2, terminal=True)
    _append(replay, 3, transition=False)  # the last observation: the environment resets next
    _append(replay, 4, first=True)
    _append(replay, 5)
    assert _transitions(replay) == {
        10: ([0, 0, 1], [0, 1, 2], 0.5, False),
        20: ([0, 1, 2], [1, 2, 3], 1.0, True),
        40: ([0, 0, 4], [0, 4, 5], 2.0, False),
    }


def test_a_truncated_game_bootstraps_from_its_last_observation() -> None:
    replay = _replay(stack_size=2)
    _append(replay, 1, first=True)
    _append(replay, 2, transition=False)  # cut here: last without being terminal
    _append(replay, 3, first=True)
    assert _transitions(replay) == {10: ([0, 1], [1, 2], 0.5, False)}


def test_a_lost_life_ends_the_return_but_not_the_stack() -> None:
    replay = _replay(stack_size=3)
    _append(replay, 1, first=True)
    _append(replay, 2, terminal=True)
    _append(replay, 3)
    _append(replay, 4)
    assert _transitions(replay)[20] == ([0, 1, 2], [1, 2, 3], 1.0, True)
    assert _transitions(replay)[30] == ([1, 2, 3], [2, 3, 4], 1.5, False)


def test_no_stack_reaches_across_the_write_head() -> None:
    replay = _replay(capacity=6, stack_size=3)
    for frame in range(1, 9):
        _append(replay, frame, first=frame == 1)
    # Frames 3 to 8 are left. Actions 30 and 40 would need frames 1 and 2; 80 has no successor.
    assert _transitions(replay) == {
        50: ([3, 4, 5], [4, 5, 6], 2.5, False),
        60: ([4, 5, 6], [5, 6, 7], 3.0, False),
        70: ([5, 6, 7], [6, 7, 8], 3.5, False),
    }


def test_a_game_that_begins_at_the_write_head_needs_no_older_frames() -> None:
    replay = _replay(capacity=5, stack_size=3)
    _append(replay, 1, first=True)
    _append(replay, 2, transition=False)
    for frame in range(3, 8):
        _append(replay, frame, first=frame == 3)
    assert sorted(_transitions(replay)) == [30, 40, 50, 60]
    assert _transitions(replay)[30] == ([0, 0, 3], [0, 3, 4], 1.5, False)


def test_a_reset_in_mid_game_cuts_the_agent_step_whose_outcome_is_unknown() -> None:
    replay = _replay(stack_size=2)
    _append(replay, 1, first=True)
    _append(replay, 2)
    _append(replay, 3, first=True)
    _append(replay, 4)
    assert sorted(_transitions(replay)) == [10, 30]


def test_without_stacking_a_state_is_the_frame() -> None:
    replay = uniform_replay(
        num_envs=2,
        capacity=10,
        frame_shape=(3,),
        frame_dtype=torch.float32,
        stack_size=1,
        seed=0,
    )
    for value in (0.5, 1.5):
        replay.append(
            frame_tm1=np.full((2, 3), value, np.float32),
            is_first_tm1=np.full(2, value == 0.5),
            action_tm1=np.zeros(2, np.int64),
            reward_t=np.zeros(2, np.float32),
            is_terminal_t=np.zeros(2, np.bool_),
            is_transition=np.ones(2, np.bool_),
        )
    batch = replay.sample(4)
    torch.testing.assert_close(batch.s_tm1, torch.full((4, 3), 0.5))
    torch.testing.assert_close(batch.s_t, torch.full((4, 3), 1.5))


def test_a_batch_has_the_documented_shapes_and_dtypes() -> None:
    replay = uniform_replay(
        num_envs=2,
        capacity=20,
        frame_shape=(84, 84),
        frame_dtype=torch.uint8,
        stack_size=4,
        seed=0,
    )
    rng = np.random.default_rng(0)
    for t in range(3):
        replay.append(
            frame_tm1=rng.integers(256, size=(2, 4, 84, 84), dtype=np.uint8)[:, -1],
            is_first_tm1=np.full(2, t == 0),
            action_tm1=np.zeros(2, np.int64),
            reward_t=np.zeros(2, np.float32),
            is_terminal_t=np.zeros(2, np.bool_),
            is_transition=np.ones(2, np.bool_),
        )
    batch = replay.sample(32)
    shapes = {name: tuple(field.shape) for name, field in fields_of(batch).items()}
    dtypes = {name: field.dtype for name, field in fields_of(batch).items()}
    assert shapes == {
        "s_tm1": (32, 4, 84, 84),
        "a_tm1": (32,),
        "r_t": (32,),
        "is_terminal_t": (32,),
        "s_t": (32, 4, 84, 84),
        "num_steps": (32,),
        "slots": (32,),
    }
    assert dtypes == {
        "s_tm1": torch.uint8,
        "a_tm1": torch.int64,
        "r_t": torch.float32,
        "is_terminal_t": torch.bool,
        "s_t": torch.uint8,
        "num_steps": torch.int64,
        "slots": torch.int64,
    }
    # Three of four frames are common, and fetched once.
    assert torch.equal(batch.s_tm1[:, 1:], batch.s_t[:, :-1])
    assert batch.s_tm1.untyped_storage().data_ptr() == batch.s_t.untyped_storage().data_ptr()


def test_a_batch_keeps_its_values_when_the_ring_moves_on() -> None:
    replay = _replay(capacity=6, stack_size=2)
    for frame in range(1, 6):
        _append(replay, frame, first=frame == 1)
    batch = replay.sample(16)
    before = {name: field.clone() for name, field in fields_of(batch).items()}
    for frame in range(6, 30):
        _append(replay, frame)
        replay.sample(16)
    assert all(torch.equal(field, before[name]) for name, field in fields_of(batch).items())


def test_every_sampleable_transition_is_equally_likely() -> None:
    replay = _replay(num_envs=3, capacity=60, stack_size=4, seed=7)
    rng = np.random.default_rng(0)
    first = np.ones(3, np.bool_)
    for t in range(47):  # wraps the 20 slots twice, and stops in mid-ring
        over = rng.random(3) < 0.2
        replay.append(
            frame_tm1=np.full(3, t),
            is_first_tm1=first,
            action_tm1=np.array([0, 1000, 2000]) + t,
            reward_t=np.zeros(3, np.float32),
            is_terminal_t=np.zeros(3, np.bool_),
            is_transition=~over,
        )
        first = over
    num_draws = 60_000
    counts = Counter(replay.sample(num_draws).a_tm1.tolist())
    assert len(counts) == len(replay)
    expected = num_draws / len(replay)
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    degrees_of_freedom = len(replay) - 1
    # Its mean is the degrees of freedom and its variance twice that; four deviations allowed.
    assert abs(chi_square - degrees_of_freedom) < 4 * (2 * degrees_of_freedom) ** 0.5


def test_the_same_seed_draws_the_same_transitions_and_another_does_not() -> None:
    draws = []
    for seed in (3, 3, 4):
        replay = _replay(seed=seed)
        for frame in range(1, 60):
            _append(replay, frame, first=frame == 1)
        draws.append(replay.sample(50).a_tm1.tolist())
    assert draws[0] == draws[1] != draws[2]


def test_an_atari_transition_takes_less_than_7200_bytes_all_included() -> None:
    assert bytes_per_transition((84, 84), torch.uint8) == 84 * 84 + 15 < 7200
    replay = _replay(num_envs=1, capacity=34)
    for frame in range(34):
        _append(replay, frame, first=frame == 0)
    state = replay.state_dict()
    stored = (state[key].nbytes for key in state if isinstance(state[key], torch.Tensor))
    num_generator_bytes = state["generator"].nbytes
    assert replay.nbytes == sum(stored) - num_generator_bytes == 34 * (8 + 15)


def test_capacity_is_rounded_up_to_whole_columns() -> None:
    assert _replay(num_envs=3, capacity=100).nbytes == _replay(num_envs=3, capacity=102).nbytes


def test_a_replay_larger_than_memory_is_refused_before_it_is_allocated() -> None:
    with pytest.raises(ValueError, match=r"replay\.capacity=\d+ needs 7071000.00 GB but .* at mo"):
        uniform_replay(
            num_envs=8,
            capacity=10**12,
            frame_shape=(84, 84),
            frame_dtype=torch.uint8,
            stack_size=4,
            seed=0,
        )


def test_the_capacity_named_for_a_full_memory_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "available_bytes", lambda _device: 10_000)
    with pytest.raises(ValueError, match=r"at most 434$"):
        _replay(num_envs=2, capacity=500)
    assert 434 * bytes_per_transition((), torch.int64) <= 10_000
    _replay(num_envs=2, capacity=434)


@pytest.mark.parametrize(("num_envs", "capacity"), [(1, 4), (8, 32), (1, 0), (1, -5)])
def test_a_capacity_without_room_for_a_stack_and_its_successor_is_refused(
    num_envs: int, capacity: int
) -> None:
    with pytest.raises(ValueError, match=f"replay.capacity={capacity} is too small"):
        _replay(num_envs=num_envs, capacity=capacity, stack_size=4)


def test_the_smallest_ring_always_holds_one_transition_once_full() -> None:
    replay = _replay(capacity=5, stack_size=4)
    for frame in range(1, 30):
        _append(replay, frame, first=frame == 1)
    assert _transitions(replay) == {280: ([25, 26, 27, 28], [26, 27, 28, 29], 14.0, False)}


def test_sampling_before_a_transition_is_complete_is_refused() -> None:
    replay = _replay()
    with pytest.raises(ValueError, match="no complete transition"):
        replay.sample(1)
    _append(replay, 1, first=True)
    with pytest.raises(ValueError, match="no complete transition"):
        replay.sample(1)


def test_a_batch_without_transitions_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=0"):
        _replay().sample(0)


@pytest.mark.parametrize("stack_size", [0, 255])
def test_a_stack_size_that_cannot_be_counted_is_refused(stack_size: int) -> None:
    with pytest.raises(ValueError, match=f"stack_size={stack_size} must be in 1..254"):
        _replay(capacity=1000, stack_size=stack_size)


def test_a_system_that_does_not_tell_its_memory_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "available_bytes", lambda _device: None)
    assert _replay(capacity=50).nbytes == 50 * bytes_per_transition((), torch.int64)


def test_the_first_append_must_open_a_game() -> None:
    with pytest.raises(ValueError, match="is_first_tm1"):
        _append(_replay(), 1, first=False)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("frame_tm1", np.zeros((2, 4)), ValueError),
        ("frame_tm1", np.zeros(2), TypeError),  # float64 into a replay of int64
        ("is_first_tm1", np.ones(3, np.bool_), ValueError),
        ("action_tm1", np.int64(0), ValueError),
        ("reward_t", np.zeros((2, 1), np.float32), ValueError),
        ("is_terminal_t", np.zeros(1, np.bool_), ValueError),
        ("is_transition", np.zeros(0, np.bool_), ValueError),
    ],
)
def test_a_misshapen_append_is_refused_by_name_and_writes_nothing(
    name: str, value: np.ndarray, error: type[Exception]
) -> None:
    replay = _replay(num_envs=2)
    arguments = {
        "frame_tm1": np.zeros(2, np.int64),
        "is_first_tm1": np.ones(2, np.bool_),
        "action_tm1": np.zeros(2, np.int64),
        "reward_t": np.zeros(2, np.float32),
        "is_terminal_t": np.zeros(2, np.bool_),
        "is_transition": np.ones(2, np.bool_),
    }
    with pytest.raises(error, match=name):
        replay.append(**{**arguments, name: value})
    assert replay.state_dict()["num_appends"] == 0
    check_valid(replay)


@pytest.mark.parametrize("num_frames", [5, 40])
def test_a_loaded_replay_goes_on_as_the_saved_one(num_frames: int) -> None:
    saved = _replay(capacity=12, stack_size=3, seed=1)
    for frame in range(1, num_frames):
        _append(saved, frame, first=frame % 9 == 1, transition=frame % 9 != 0)
    saved.sample(7)
    file = io.BytesIO()
    torch.save(saved.state_dict(), file)
    file.seek(0)
    loaded = _replay(capacity=12, stack_size=3, seed=99)
    for frame in range(1000, 1030):
        _append(loaded, frame, first=frame == 1000)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    check_valid(loaded)
    for frame in range(num_frames, num_frames + 20):
        assert len(loaded) == len(saved)
        batch, twin = fields_of(saved.sample(9)), fields_of(loaded.sample(9))
        for name in batch:
            assert torch.equal(batch[name], twin[name]), name
        for replay in (saved, loaded):
            _append(replay, frame, first=frame % 9 == 1, transition=frame % 9 != 0)


@pytest.mark.parametrize("num_frames", [1, 5, 12, 13, 40])
@pytest.mark.parametrize("block", [1, 5, 100])
def test_frames_are_carried_over_by_columns(num_frames: int, block: int) -> None:
    saved = _replay(capacity=12, stack_size=3, seed=1)
    for frame in range(1, num_frames + 1):
        _append(saved, frame, first=frame == 1)
    assert saved.columns == range(max(0, num_frames - 12), num_frames)
    state = saved.state_dict()
    frames = state.pop("frames").clone()
    loaded = _replay(capacity=12, stack_size=3, seed=99)
    loaded.load_state_dict(state)
    # From before the oldest on, as a file does whose first columns have been overwritten since.
    first = saved.columns.start // block * block
    for begin in range(first, num_frames, block):
        columns = range(begin, min(begin + block, num_frames))
        held = range(max(begin, saved.columns.start), columns.stop)
        read = saved.read_frames(held)
        assert read.is_contiguous()
        padding = read.new_zeros((1, len(columns) - len(held), *read.shape[2:]))
        loaded.write_frames(columns, torch.cat([padding, read], dim=1))
    assert torch.equal(loaded.state_dict()["frames"], frames)


def test_a_state_of_another_layout_is_refused_and_nothing_is_loaded() -> None:
    saved = _replay(capacity=12, stack_size=3)
    _append(saved, 1, first=True)
    for other in (_replay(capacity=13, stack_size=3), _replay(capacity=12, stack_size=2)):
        with pytest.raises(ValueError, match=r"replay\.capacity and env must be as they were"):
            other.load_state_dict(saved.state_dict())
        assert other.state_dict()["num_appends"] == 0


def test_check_valid_notices_a_stack_that_mixes_games() -> None:
    replay = _replay(stack_size=2)
    for frame in (1, 2, 3):
        _append(replay, frame, first=frame == 1)
    state = replay.state_dict()
    state["age"][0, 2] = 0
    replay.load_state_dict(state)
    with pytest.raises(AssertionError, match="another game"):
        check_valid(replay)


@pytest.mark.gpu
def test_the_same_seed_draws_the_same_transitions_on_every_device() -> None:
    batches = []
    for device in ("cpu", "cuda"):
        replay = uniform_replay(
            num_envs=2,
            capacity=50,
            frame_shape=(2,),
            frame_dtype=torch.uint8,
            stack_size=4,
            seed=0,
            device=device,
        )
        for t in range(80):
            replay.append(
                frame_tm1=np.full((2, 2), t, np.uint8),
                is_first_tm1=np.full(2, t % 7 == 0),
                action_tm1=np.arange(2) + 10 * t,
                reward_t=np.full(2, t, np.float32),
                is_terminal_t=np.full(2, t % 7 == 5),
                is_transition=np.full(2, t % 7 != 6),
            )
        check_valid(replay)
        batch = replay.sample(32)
        assert {field.device.type for field in batch[:6]} == {device}
        batches.append([field.cpu() for field in batch[:6]])
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))
