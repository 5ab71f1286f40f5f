"""MinAtar behind our interface, against the package's own environment stepped by hand."""

import io

import numpy as np
import pytest
import torch

from dqn.environments import (
    MINATAR_GAMES,
    MINATAR_PROTOCOLS,
    MinAtarEnvironment,
    check_minatar_game,
    get_minatar_protocol,
)
from dqn.environments.minatar import MinAtarProtocol

minatar_gym = pytest.importorskip("minatar.gym", reason="needs rmsprop-dqn[minatar]")

V1 = MINATAR_PROTOCOLS["minatar_v1"]


def random_actions(environment, num_steps, seed=0):
    generator = np.random.default_rng(seed)
    shape = (num_steps, environment.num_envs)
    return generator.integers(environment.num_actions, size=shape)


@pytest.mark.parametrize("game", MINATAR_GAMES)
def test_steps_are_those_of_the_package(game):
    environment = MinAtarEnvironment(game, protocol=V1, num_envs=2, seed=7)
    singles = [
        minatar_gym.BaseEnv(game=game, use_minimal_action_set=True, sticky_action_prob=0.1)
        for _ in range(2)
    ]
    time_step = environment.reset()
    for i, single in enumerate(singles):
        observation, _ = single.reset(seed=7 + i)
        np.testing.assert_array_equal(time_step.observation_t[i], np.moveaxis(observation, 2, 0))
    score, length, is_over = [0.0, 0.0], [0, 0], [False, False]
    num_games = 0
    for actions in random_actions(environment, 700):
        time_step = environment.step(actions)
        for i, single in enumerate(singles):
            assert time_step.is_first_t[i] == is_over[i]
            if is_over[i]:
                observation, _ = single.reset()
                assert time_step.reward_t[i] == 0.0
                score[i], length[i], is_over[i] = 0.0, 0, False
            else:
                observation, reward, terminated, _, _ = single.step(actions[i])
                score[i] += reward
                length[i] += 1
                is_over[i] = terminated
                assert time_step.reward_t[i] == reward
            assert time_step.is_terminal_t[i] == time_step.is_last_t[i] == is_over[i]
            np.testing.assert_array_equal(
                time_step.observation_t[i], np.moveaxis(observation, 2, 0)
            )
            if is_over[i]:
                num_games += 1
                assert time_step.episode_return_t[i] == score[i]
                assert time_step.episode_length_t[i] == length[i]
    assert num_games >= (0 if game == "freeway" else 2)  # Freeway takes 2,500 steps.


@pytest.mark.parametrize(
    ("game", "num_channels", "minimal"),
    [
        # Young & Tian 2019, section 2, and the package's minimal_action_set.
        ("asterix", 4, "nlurd"),
        ("breakout", 4, "nlr"),
        ("freeway", 7, "nud"),
        ("seaquest", 10, "nlurdf"),
        ("space_invaders", 6, "nlrf"),
    ],
)
def test_shapes_and_actions_are_the_papers(game, num_channels, minimal):
    for name, meanings in (("minatar_v1", minimal), ("minatar_v0", "nlurdf")):
        protocol = get_minatar_protocol(name)
        environment = MinAtarEnvironment(game, protocol=protocol, num_envs=3, seed=0)
        assert environment.action_meanings == tuple(meanings)
        assert environment.num_actions == len(meanings)
        for time_step in (environment.reset(), environment.step(np.zeros(3, dtype=np.int64))):
            assert time_step.observation_t.shape == (3, num_channels, 10, 10)
            assert time_step.observation_t.dtype == np.uint8
            assert set(np.unique(time_step.observation_t)) == {0, 1}
        assert environment.frame_shape == environment.observation_shape == (num_channels, 10, 10)
        assert (environment.stack_size, environment.frame_skip) == (1, 1)
        assert environment.game == game


def test_a_cut_game_is_last_but_not_terminal():
    protocol = MinAtarProtocol(name="short", minimal_action_set=True, max_agent_steps_per_game=3)
    environment = MinAtarEnvironment("seaquest", protocol=protocol, num_envs=1, seed=0)
    environment.reset()
    actions = np.zeros(1, dtype=np.int64)
    for expected in (False, False, True):
        time_step = environment.step(actions)
        assert time_step.is_last_t[0] == expected
        assert not time_step.is_terminal_t[0]
    assert time_step.episode_length_t[0] == 3
    assert environment.step(actions).is_first_t[0]
    assert environment.step(actions).episode_length_t[0] == 0


def test_previous_action_is_repeated_one_time_in_ten():
    """Freeway's player alone moves up and down: with its cooldown of 3 steps ignored, count how
    often the package executed another action than the one it was given."""
    environment = MinAtarEnvironment("freeway", protocol=V1, num_envs=1, seed=3)
    environment.reset()
    game = environment._envs[0].game
    up, down = 2, 4
    repeated = num_steps = 0
    for step in range(2_000):
        action = step % 2  # alternates "none" and "up": a repeat is always another action
        wanted = environment._envs[0].action_set[action]
        environment.step(np.array([action]))
        repeated += game.last_action != wanted
        num_steps += 1
    assert {up, down} <= set(environment._envs[0].action_set)
    # Alternation restarts after a repeat: P(differs) = p / (1 + p) = 1/11, ± 3 standard errors.
    assert repeated / num_steps == pytest.approx(0.1 / 1.1, abs=0.02)


def test_reset_starts_anew_from_the_seed():
    environment = MinAtarEnvironment("asterix", protocol=V1, num_envs=2, seed=5)
    actions = random_actions(environment, 60)
    runs = []
    for _ in range(2):
        observations = [environment.reset().observation_t]
        observations += [environment.step(action).observation_t for action in actions]
        runs.append(np.stack(observations))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0][:, 0] != runs[0][:, 1]).any(), "copies play different games"


@pytest.mark.parametrize("game", MINATAR_GAMES)
def test_a_loaded_state_goes_on_as_the_saved_one(game):
    environment = MinAtarEnvironment(game, protocol=V1, num_envs=2, seed=1)
    environment.reset()
    for actions in random_actions(environment, 150, seed=1):
        stood_at = environment.step(actions)
    file = io.BytesIO()
    torch.save(environment.state_dict(), file)
    expected = [environment.step(actions) for actions in random_actions(environment, 300)]

    file.seek(0)
    other = MinAtarEnvironment(game, protocol=V1, num_envs=2, seed=99)
    other.reset()
    resumed = other.load_state_dict(torch.load(file, weights_only=True))
    for ours, theirs in zip(resumed, stood_at, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for actions, time_step in zip(random_actions(other, 300), expected, strict=True):
        for ours, theirs in zip(other.step(actions), time_step, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_state_is_a_copy_and_of_its_own_game():
    environment = MinAtarEnvironment("space_invaders", protocol=V1, num_envs=1, seed=1)
    environment.reset()
    state = environment.state_dict()
    aliens = state["games"][0]["alien_map"].clone()
    for actions in random_actions(environment, 100):
        environment.step(actions)
    assert torch.equal(state["games"][0]["alien_map"], aliens)
    other = MinAtarEnvironment("breakout", protocol=V1, num_envs=1, seed=1)
    with pytest.raises(RuntimeError, match="needs games in progress"):
        other.state_dict()
    with pytest.raises(ValueError, match="of space_invaders, not of breakout"):
        other.load_state_dict(state)
    two = MinAtarEnvironment("space_invaders", protocol=V1, num_envs=2, seed=1)
    with pytest.raises(ValueError, match="has 1 games, this environment 2"):
        two.load_state_dict(state)


def test_picture_shows_the_paddle_move():
    environment = MinAtarEnvironment(
        "breakout", protocol=V1, num_envs=1, seed=0, render_mode="rgb_array"
    )
    environment.reset()
    first = environment.render()
    assert first.shape == (160, 160, 3)
    assert first.dtype == np.uint8
    environment.step(np.ones(1, dtype=np.int64))
    assert (environment.render() != first).any()


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
        MinAtarEnvironment("breakout", protocol=V1, **arguments)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"; did you mean breakout\?"):
        check_minatar_game("Breakout")
    with pytest.raises(ValueError, match=r"env.protocol='nature'.*minatar_v0, minatar_v1"):
        get_minatar_protocol("nature")


def test_bad_actions_are_refused():
    environment = MinAtarEnvironment("breakout", protocol=V1, num_envs=2, seed=0)
    environment.reset()
    with pytest.raises(ValueError, match=r"in 0\.\.2, got \[0, 3\]"):
        environment.step(np.array([0, 3]))


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "minatar.gym", None)
    with pytest.raises(ImportError, match=r"pip install 'rmsprop-dqn\[minatar\]'"):
        MinAtarEnvironment("breakout", protocol=V1, num_envs=1, seed=0)
