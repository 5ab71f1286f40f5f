"""Classic control against Gymnasium's single environments, stepped by hand."""

import sys

import gymnasium
import numpy as np
import pytest

from dqn.environments import ControlEnvironment


def random_actions(environment, num_steps, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(environment.num_actions, size=(num_steps, environment.num_envs))


@pytest.mark.parametrize("game", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"])
def test_episodes_equal_gymnasiums_own(game):
    environment = ControlEnvironment(game, num_envs=2, seed=7)
    singles = [gymnasium.make(game) for _ in range(2)]
    time_step = environment.reset()
    expected = np.stack([single.reset(seed=7 + i)[0] for i, single in enumerate(singles)])
    np.testing.assert_array_equal(time_step.observation_t, expected)
    assert time_step.is_first_t.all()
    score, length, is_over = np.zeros(2), np.zeros(2, dtype=int), [False, False]
    num_episodes = 0
    for action in random_actions(environment, 450):
        time_step = environment.step(action)
        for i, single in enumerate(singles):
            assert time_step.is_first_t[i] == is_over[i]
            if is_over[i]:
                observation, _ = single.reset()
                assert time_step.reward_t[i] == 0.0
                score[i], length[i], is_over[i] = 0.0, 0, False
            else:
                observation, reward, terminated, truncated, _ = single.step(action[i])
                score[i] += reward
                length[i] += 1
                is_over[i] = terminated or truncated
                assert time_step.reward_t[i] == np.float32(reward)
                assert time_step.is_terminal_t[i] == terminated
            np.testing.assert_array_equal(time_step.observation_t[i], observation)
            assert time_step.is_last_t[i] == is_over[i]
            if is_over[i]:
                num_episodes += 1
                assert time_step.episode_return_t[i] == score[i]
                assert time_step.episode_length_t[i] == length[i]
            else:
                assert np.isnan(time_step.episode_return_t[i])
                assert time_step.episode_length_t[i] == 0
    for single in singles:
        single.close()
    environment.close()
    assert num_episodes >= (0 if game == "Acrobot-v1" else 4)


def test_time_limit_is_last_but_not_terminal():
    environment = ControlEnvironment("MountainCar-v0", num_envs=1, seed=0)
    environment.reset()
    for _ in range(200):
        time_step = environment.step(np.ones(1, dtype=np.int64))
    environment.close()
    assert time_step.is_last_t[0]
    assert not time_step.is_terminal_t[0]
    assert time_step.episode_return_t[0] == -200.0
    assert time_step.episode_length_t[0] == 200


def test_reset_starts_anew_from_the_seed():
    environment = ControlEnvironment("CartPole-v1", num_envs=3, seed=0)
    first = environment.reset().observation_t
    for action in random_actions(environment, 50):
        environment.step(action)
    np.testing.assert_array_equal(environment.reset().observation_t, first)
    assert not (first[0] == first[1]).all()
    environment.close()


def test_time_steps_have_the_documented_dtypes_and_shapes():
    environment = ControlEnvironment("CartPole-v1", num_envs=3, seed=0)
    dtypes = ("float32", "float32", "bool", "bool", "bool", "float32", "int64")
    for time_step in (environment.reset(), environment.step(np.zeros(3, dtype=np.int64))):
        assert tuple(field.dtype.name for field in time_step) == dtypes
        assert tuple(field.shape for field in time_step) == ((3, 4), *[(3,)] * 6)
    environment.close()
    assert environment.observation_shape == environment.frame_shape == (4,)
    assert environment.observation_dtype == np.float32
    assert (environment.stack_size, environment.frame_skip) == (1, 1)
    assert environment.action_meanings == ("0", "1")
    assert environment.game == "CartPole-v1"


@pytest.mark.parametrize(
    ("game", "message"),
    [
        ("CartPole", r"env.id='CartPole'.*no such task; did you mean CartPole-v1\?"),
        ("Pendulum-v1", "env.id='Pendulum-v1' has .*actions 0..n-1 are needed"),
    ],
)
def test_unsuitable_task_is_refused_in_one_line(game, message):
    with pytest.raises(ValueError, match=message) as error:
        ControlEnvironment(game, num_envs=1, seed=0)
    assert "\n" not in str(error.value)


def test_task_that_needs_a_missing_package_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "Box2D", None)
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"env.id='LunarLander-v3': .*[Bb]ox2[Dd]"):
        ControlEnvironment("LunarLander-v3", num_envs=1, seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0, "seed": 0}, "env.num_envs=0"),
        ({"num_envs": 1, "seed": -1}, "seed=-1 must be in"),
        ({"num_envs": 2, "seed": 0, "render_mode": "rgb_array"}, "needs num_envs=1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ControlEnvironment("CartPole-v1", **arguments)


def test_split_step_answers_what_the_whole_one_does():
    whole, split = (ControlEnvironment("CartPole-v1", num_envs=2, seed=3) for _ in range(2))
    whole.reset(), split.reset()
    with pytest.raises(RuntimeError, match="call step_async first"):
        split.step_wait()
    for actions in random_actions(whole, 100):
        split.step_async(actions)
        with pytest.raises(RuntimeError, match="still has to be waited for"):
            split.step_async(actions)
        for one, other in zip(whole.step(actions), split.step_wait(), strict=True):
            np.testing.assert_array_equal(one, other)
    whole.close(), split.close()


def test_bad_actions_are_refused():
    environment = ControlEnvironment("CartPole-v1", num_envs=2, seed=0)
    environment.reset()
    with pytest.raises(ValueError, match=r"in 0\.\.1, got \[0, 2\]"):
        environment.step(np.array([0, 2]))
    environment.close()


def test_picture_shows_the_pole():
    pytest.importorskip("pygame", reason="pictures of classic control need pygame")
    environment = ControlEnvironment("CartPole-v1", num_envs=1, seed=0, render_mode="rgb_array")
    environment.reset()
    first = environment.render()
    for _ in range(5):
        environment.step(np.ones(1, dtype=np.int64))
    assert first.shape == (400, 600, 3)
    assert first.dtype == np.uint8
    assert (environment.render() != first).any()
    environment.close()


def test_picture_without_pygame_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    environment = ControlEnvironment("CartPole-v1", num_envs=1, seed=0, render_mode="rgb_array")
    environment.reset()
    with pytest.raises(ImportError, match=r"pip install 'rmsprop-dqn\[video\]'"):
        environment.render()
    environment.close()


def test_picture_needs_an_environment_that_asked_for_it():
    environment = ControlEnvironment("CartPole-v1", num_envs=1, seed=0)
    environment.reset()
    with pytest.raises(ValueError, match="made with render_mode='rgb_array'"):
        environment.render()
    environment.close()
