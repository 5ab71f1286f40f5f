"""The compressed replay against the one that keeps frames as they are, on real Atari."""

import numpy as np
import pytest
import torch
from helpers.replays import fields_of, uniform_replay

from dqn.environments import AtariEnvironment
from dqn.environments.protocols import PROTOCOLS
from dqn.replay import bytes_per_transition
from dqn.replay.frames import CompressedFrames
from dqn.training.trainer import newest_frame

NUM_ENVS = 2


def replays(**options):
    return [
        uniform_replay(
            num_envs=NUM_ENVS,
            capacity=300,
            frame_shape=(84, 84),
            frame_dtype=torch.uint8,
            stack_size=4,
            seed=0,
            compressed=compressed,
            **options,
        )
        for compressed in (False, True)
    ]


def play(game, num_steps, *targets):
    environment = AtariEnvironment(
        game, protocol=PROTOCOLS["nature"], num_envs=NUM_ENVS, seed=0, training=True, num_threads=1
    )
    generator = np.random.default_rng(0)
    time_step = environment.reset()
    for _ in range(num_steps):
        actions = generator.integers(environment.num_actions, size=NUM_ENVS)
        next_time_step = environment.step(actions)
        for replay in targets:
            replay.append(
                frame_tm1=newest_frame(time_step.observation_t, 4),
                is_first_tm1=time_step.is_first_t,
                action_tm1=actions,
                reward_t=next_time_step.reward_t,
                is_terminal_t=next_time_step.is_terminal_t,
                is_transition=~time_step.is_last_t,
            )
        time_step = next_time_step
    environment.close()


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("game", ["breakout", "ms_pacman"])
def test_batches_are_the_same_bits(game, n_step):
    raw, compressed = replays(n_step=n_step)
    play(game, 200, raw, compressed)  # 150 columns: the ring has gone round
    for _ in range(5):
        batch, twin = raw.sample(32), compressed.sample(32)
        assert batch.s_tm1.any()
        for name, field in fields_of(batch).items():
            assert torch.equal(field, getattr(twin, name)), name


@pytest.mark.parametrize("game", ["breakout", "ms_pacman"])
def test_a_million_transitions_take_less_than_one_and_a_half_gigabytes(game):
    _, compressed = replays()
    play(game, 150, compressed)
    assert 100 < compressed.nbytes / 300 < 1_500 < bytes_per_transition((84, 84), torch.uint8)


def test_bytes_are_counted_as_they_come_and_go():
    frames = CompressedFrames(1, 2, (84, 84), torch.uint8, torch.device("cpu"))
    noise = torch.randint(256, (1, 1, 84, 84), dtype=torch.uint8)
    empty = frames.nbytes
    frames.write(torch.tensor([0]), noise)
    full = frames.nbytes
    assert full - empty > 84 * 84  # noise does not compress
    frames.write(torch.tensor([1]), torch.zeros_like(noise))
    assert full < frames.nbytes < full + 200
    frames.write(torch.tensor([0]), torch.zeros_like(noise))
    assert frames.nbytes < empty + 400


def test_frames_of_other_types_come_back_too():
    frames = CompressedFrames(2, 3, (2,), torch.float32, torch.device("cpu"))
    values = torch.randn(2, 2, 2)
    frames.write(torch.tensor([2, 0]), values)
    assert torch.equal(frames.read(torch.tensor([2, 0])), values)
    assert torch.equal(
        frames.gather(torch.tensor([5, 0])), torch.stack([values[1, 0], values[0, 1]])
    )


def test_too_large_a_compressed_replay_is_refused_with_a_number(monkeypatch):
    monkeypatch.setattr("dqn.replay.ring.available_bytes", lambda device: 10_000_000)
    with pytest.raises(ValueError, match=r"needs 1\.37 GB but 0\.01 GB are available"):
        uniform_replay(
            num_envs=1,
            capacity=1_000_000,
            frame_shape=(84, 84),
            frame_dtype=torch.uint8,
            stack_size=4,
            seed=0,
            compressed=True,
        )
