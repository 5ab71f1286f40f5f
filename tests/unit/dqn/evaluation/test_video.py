"""Films, opened again with Pillow and compared with the game they should show."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.atari_oracle import AtariOracle
from PIL import Image, ImageSequence

from dqn.environments import AtariEnvironment, ControlEnvironment
from dqn.environments.protocols import NATURE
from dqn.evaluation.video import record_episode


def make_atari(game="ms_pacman", *, seed=0, render_mode="rgb_array", **fields):
    return AtariEnvironment(
        game,
        protocol=replace(NATURE, noop_max=0, **fields),
        num_envs=1,
        seed=seed,
        training=False,
        render_mode=render_mode,
    )


def random_policy(num_actions, seed=0):
    generator = np.random.default_rng(seed)
    return lambda time_step: generator.integers(num_actions, size=1)


def pictures_and_milliseconds(path):
    with Image.open(path) as film:
        frames = [
            (np.asarray(picture.convert("RGB")), picture.info["duration"])
            for picture in ImageSequence.Iterator(film)
        ]
    return zip(*frames, strict=True)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_film_shows_every_step_of_the_agents_game_in_true_colours(tmp_path, suffix):
    environment = make_atari(seed=3, repeat_action_probability=0.25)
    path = tmp_path / "videos" / f"ms_pacman.{suffix}"
    policy = random_policy(9, seed=1)
    recording = record_episode(environment, policy, path, max_agent_steps=120)
    environment.close()
    oracle = AtariOracle("ms_pacman", seed=3, repeat_action_probability=0.25)
    policy = random_policy(9, seed=1)
    expected, score = [oracle.ale.getScreenRGB()], 0
    for _ in range(120):
        step = oracle.step(policy(None)[0])
        expected.append(np.maximum(*step.rgb_frames[-2:]))
        score += step.reward
    distinct = [expected[0]]
    for picture in expected[1:]:
        if (picture != distinct[-1]).any():
            distinct.append(picture)
    shown, milliseconds = pictures_and_milliseconds(path)
    np.testing.assert_array_equal(np.stack(shown), np.stack(distinct))
    assert len(distinct) > 80
    # Equal pictures in a row become one that lasts as long as they would have.
    assert sum(milliseconds) == 121 * (70 if suffix == "gif" else 67)
    assert recording == (path, score, 120, False)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_film_ends_with_the_game(tmp_path):
    environment = make_atari("breakout", max_frames_per_game_evaluation=80)
    path = tmp_path / "breakout.gif"
    recording = record_episode(environment, random_policy(4), path, max_agent_steps=1000)
    environment.close()
    assert recording.num_agent_steps == 20
    assert recording.is_complete


def test_same_seed_and_policy_give_the_same_film(tmp_path):
    environment = make_atari()
    files = [tmp_path / "one.webp", tmp_path / "two.webp"]
    for file in files:
        record_episode(environment, random_policy(9), file, max_agent_steps=30)
    environment.close()
    assert files[0].read_bytes() == files[1].read_bytes()


def test_classic_control_is_filmed_to_the_fall_of_the_pole(tmp_path):
    pytest.importorskip("pygame", reason="pictures of classic control need pygame")
    environment = ControlEnvironment("CartPole-v1", num_envs=1, seed=0, render_mode="rgb_array")
    path = tmp_path / "cartpole.gif"
    recording = record_episode(
        environment, lambda _: np.ones(1, dtype=np.int64), path, max_agent_steps=500
    )
    environment.close()
    pictures, milliseconds = pictures_and_milliseconds(path)
    assert recording.is_complete
    assert recording.episode_return == recording.num_agent_steps
    assert 8 <= recording.num_agent_steps <= 12  # pushed one way, a pole falls in about ten steps
    assert {picture.shape for picture in pictures} == {(400, 600, 3)}
    assert (pictures[0] != pictures[-1]).any()
    assert sum(milliseconds) == 70 * (recording.num_agent_steps + 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "film.mp4"}, "path='film.mp4' must end in .gif or .webp"),
        ({"max_agent_steps": 0}, "max_agent_steps=0"),
        ({"frames_per_second": 0.0}, r"frames_per_second=0.0 must be in \(0, 50\]"),
        ({"frames_per_second": 60.0}, "frames_per_second=60.0"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_played(arguments, message):
    arguments = {"path": "film.gif", "max_agent_steps": 10} | arguments
    with pytest.raises(ValueError, match=message):
        record_episode(None, None, **arguments)


def test_environment_that_was_not_made_for_pictures_is_refused(tmp_path):
    environment = make_atari(render_mode=None)
    with pytest.raises(ValueError, match="made with render_mode='rgb_array'"):
        record_episode(environment, random_policy(9), tmp_path / "a.gif", max_agent_steps=1)
    environment.close()
    assert list(tmp_path.iterdir()) == []


def test_film_is_given_up_when_told_to_stop_and_leaves_no_file(tmp_path):
    environment = ControlEnvironment("CartPole-v1", num_envs=1, seed=0)
    environment.render = lambda: np.zeros((8, 8, 3), dtype=np.uint8)
    polled = []

    def stop_at_the_third():
        polled.append(True)
        return len(polled) == 3

    recording = record_episode(
        environment,
        lambda time_step: np.zeros(1, dtype=np.int64),
        tmp_path / "film.gif",
        max_agent_steps=100,
        should_stop=stop_at_the_third,
    )
    environment.close()
    assert recording is None
    assert len(polled) == 3
    assert list(tmp_path.iterdir()) == []
