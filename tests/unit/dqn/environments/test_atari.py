"""Atari environments against ALE's single-game interface, played naively."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from ale_py import Action
from helpers.atari_oracle import AtariOracle, resize_by_area, zero_padded_stack

from dqn.environments import AtariEnvironment, check_game, known_games
from dqn.environments.protocols import MACHADO, NATURE

NATIVE = (210, 160)
FROM_THE_START = replace(NATURE, noop_max=0)  # no random start, so that an oracle can follow


def make(game="breakout", *, protocol=NATURE, num_envs=1, seed=0, training=True, **kwargs):
    return AtariEnvironment(
        game, protocol=protocol, num_envs=num_envs, seed=seed, training=training, **kwargs
    )


def random_actions(environment, num_steps, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(environment.num_actions, size=(num_steps, environment.num_envs))


def rollout(environment, actions):
    """The time steps of a reset and of each action, the environment closed afterwards."""
    steps = [environment.reset(), *step_through(environment, actions)]
    environment.close()
    return steps


def step_through(environment, actions):
    return [environment.step(a) for a in actions]


@pytest.mark.parametrize("game", ["breakout", "pong", "ms_pacman"])
@pytest.mark.parametrize("max_pool", [True, False])
@pytest.mark.parametrize("repeat_action_probability", [0.0, 0.25])
def test_games_equal_the_oracle_pixel_by_pixel(game, max_pool, repeat_action_probability):
    protocol = replace(
        FROM_THE_START,
        max_pool=max_pool,
        repeat_action_probability=repeat_action_probability,
        screen_size=NATIVE,
    )
    environment = make(game, protocol=protocol, seed=5)
    oracle = AtariOracle(game, seed=5, repeat_action_probability=repeat_action_probability)
    frames, lives = [oracle.grey()], oracle.lives()
    time_step = environment.reset()
    np.testing.assert_array_equal(time_step.observation_t[0], zero_padded_stack(frames, 4))
    num_lives_lost = 0
    for action in random_actions(environment, 300):
        time_step = environment.step(action)
        expected = oracle.step(action[0])
        if expected.is_over:
            break
        *_, before, last = expected.grey_frames
        frames.append(np.maximum(before, last) if max_pool else last)
        # The stack runs on over a lost life.
        np.testing.assert_array_equal(time_step.observation_t[0], zero_padded_stack(frames, 4))
        assert time_step.reward_t[0] == expected.reward
        assert time_step.is_terminal_t[0] == (expected.lives < lives)
        assert not time_step.is_last_t[0]
        assert not time_step.is_first_t[0]
        num_lives_lost += expected.lives < lives
        lives = expected.lives
    environment.close()
    assert len(frames) > 100
    assert (num_lives_lost > 0) == (game != "pong")  # Pong counts no lives.


def test_frames_are_resized_by_area():
    environment = make(protocol=FROM_THE_START)
    oracle = AtariOracle("breakout", seed=0)
    environment.reset()
    for action in random_actions(environment, 20):
        frame = environment.step(action).observation_t[0, -1]
        *_, before, last = oracle.step(action[0]).grey_frames
        # OpenCV rounds in single precision: a grey level may differ by the rounding, no more.
        expected = resize_by_area(np.maximum(before, last), 84, 84)
        np.testing.assert_allclose(frame, expected, atol=0.51)
    environment.close()


def test_stack_is_zero_before_the_first_frame_of_every_game():
    protocol = replace(NATURE, max_frames_per_game_training=24)  # six agent steps
    environment = make("freeway", protocol=protocol, num_envs=2)
    steps = rollout(environment, random_actions(environment, 20))
    frames = []
    for time_step in steps:
        if time_step.is_first_t[1]:
            frames = []
        frames.append(time_step.observation_t[1, -1])
        np.testing.assert_array_equal(time_step.observation_t[1], zero_padded_stack(frames, 4))
    assert sum(time_step.is_first_t[1] for time_step in steps) == 3  # steps 0, 7 and 14


def test_game_starts_after_0_to_29_noops():
    # Games of one agent step: every other step opens the next game.
    protocol = replace(NATURE, screen_size=NATIVE, max_frames_per_game_training=4)
    environment = make("freeway", protocol=protocol)
    steps = rollout(environment, np.zeros((400, 1), dtype=np.int64))
    first_frames = [step.observation_t[0, -1].tobytes() for step in steps if step.is_first_t[0]]
    oracle = AtariOracle("freeway", seed=0)
    frames_after_noops = []
    for _ in range(31):
        frames_after_noops.append(oracle.grey().tobytes())
        oracle.noops(1)
    assert len(set(frames_after_noops)) == 31  # the cars of Freeway never stand still
    num_noops = [frames_after_noops.index(frame) for frame in first_frames]
    assert len(num_noops) == 201
    assert set(num_noops) <= set(range(30))
    assert len(set(num_noops)) > 25  # 201 draws leave out 30 * (29/30)**201 = 0.03 on average


def test_fire_is_pressed_at_the_start_only_where_the_protocol_says_so():
    def frame_after_one_noop_step(protocol):
        *_, time_step = rollout(make(protocol=protocol), np.zeros((1, 1), dtype=np.int64))
        return time_step.observation_t[0, -1]

    protocol = replace(FROM_THE_START, screen_size=NATIVE, frame_skip=10)
    oracle = AtariOracle("breakout", seed=0, frame_skip=10)
    *_, before, last = oracle.step(0).grey_frames
    np.testing.assert_array_equal(frame_after_one_noop_step(protocol), np.maximum(before, last))
    fired = AtariOracle("breakout", seed=0, frame_skip=10)
    fired.ale.act(Action.FIRE)  # serves the ball
    *_, before_fired, last_fired = fired.step(0).grey_frames
    np.testing.assert_array_equal(
        frame_after_one_noop_step(replace(protocol, fire_on_reset=True)),
        np.maximum(before_fired, last_fired),
    )
    assert (last != last_fired).any()


@pytest.mark.parametrize(
    ("protocol", "training", "ends_at_life_loss"),
    [(NATURE, True, True), (NATURE, False, False), (MACHADO, True, False)],
)
def test_lost_life_ends_the_return_only_in_training_under_nature(
    protocol, training, ends_at_life_loss
):
    protocol = replace(protocol, noop_max=0)
    environment = make(protocol=protocol, training=training, seed=3)
    probability = protocol.repeat_action_probability
    oracle = AtariOracle("breakout", seed=3, repeat_action_probability=probability)
    environment.reset()
    lives = [oracle.lives()]
    is_terminal, fire = [], np.ones(1, dtype=np.int64)
    while lives[-1] > 0:
        time_step = environment.step(fire)
        lives.append(oracle.step(1).lives)
        is_terminal.append(bool(time_step.is_terminal_t[0]))
        assert time_step.is_last_t[0] == (lives[-1] == 0)
        assert np.isnan(time_step.episode_return_t[0]) == (lives[-1] > 0)
    # The next game starts with five lives again: no life was lost or won by that.
    time_step = environment.step(fire)
    assert time_step.is_first_t[0]
    assert not time_step.is_terminal_t[0]
    environment.close()
    is_life_loss = [after < before for before, after in pairwise(lives)]
    assert sum(is_life_loss) == 5
    if ends_at_life_loss:
        assert is_terminal == is_life_loss
    else:
        assert is_terminal == [False] * (len(is_terminal) - 1) + [True]


def test_step_after_a_game_ignores_the_action_and_opens_the_next():
    environments = [make(protocol=FROM_THE_START, training=False) for _ in range(2)]
    for environment in environments:
        time_step = environment.reset()
        while not time_step.is_last_t[0]:
            time_step = environment.step(np.ones(1, dtype=np.int64))
        assert time_step.is_terminal_t[0]
    opened = [e.step(np.full(1, a)) for a, e in enumerate(environments)]
    later = [e.step(np.ones(1, dtype=np.int64)) for e in environments]
    for environment in environments:
        environment.close()
    for time_step in opened:
        assert time_step.is_first_t[0]
        assert not time_step.is_last_t[0]
        assert not time_step.is_terminal_t[0]
        assert time_step.reward_t[0] == 0.0
        assert np.isnan(time_step.episode_return_t[0])
        assert time_step.episode_length_t[0] == 0
    np.testing.assert_array_equal(opened[0].observation_t, opened[1].observation_t)
    np.testing.assert_array_equal(later[0].observation_t, later[1].observation_t)


def test_episode_return_and_length_are_those_of_whole_games():
    environment = make("breakout", num_envs=3, seed=1)
    score, length = np.zeros(3), np.zeros(3, dtype=int)
    num_games = 0
    environment.reset()
    for action in random_actions(environment, 700):
        time_step = environment.step(action)
        for env in range(3):
            if time_step.is_first_t[env]:
                score[env], length[env] = 0.0, 0
            else:
                score[env] += time_step.reward_t[env]
                length[env] += 1
            if time_step.is_last_t[env]:
                num_games += 1
                assert time_step.episode_return_t[env] == score[env]
                assert time_step.episode_length_t[env] == length[env]
            else:
                assert np.isnan(time_step.episode_return_t[env])
                assert time_step.episode_length_t[env] == 0
    environment.close()
    assert num_games >= 6


def test_cut_game_is_last_but_not_terminal():
    protocol = replace(MACHADO, max_frames_per_game_training=40)
    steps = rollout(make("pong", protocol=protocol), np.zeros((23, 1), dtype=np.int64))
    assert [t for t, step in enumerate(steps) if step.is_last_t[0]] == [10, 21]
    assert [t for t, step in enumerate(steps) if step.is_first_t[0]] == [0, 11, 22]
    assert not any(step.is_terminal_t[0] for step in steps)
    assert steps[10].episode_length_t[0] == 10
    assert steps[21].episode_length_t[0] == 10


def test_last_observation_of_a_cut_game_lacks_the_frame_it_was_cut_on():
    protocol = replace(FROM_THE_START, screen_size=NATIVE, max_frames_per_game_training=8)
    oracle = AtariOracle("freeway", seed=0)
    *_, third, fourth = oracle.step(0).grey_frames
    *_, seventh, eighth = oracle.step(0).grey_frames
    environment = make("freeway", protocol=protocol)
    *_, time_step = rollout(environment, np.zeros((2, 1), dtype=np.int64))
    assert time_step.is_last_t[0]
    shown = time_step.observation_t[0, -1]
    assert (np.maximum(seventh, eighth) != shown).any()
    np.testing.assert_array_equal(shown, np.maximum(np.maximum(third, fourth), seventh))


def test_rewards_are_raw_scores():
    environment = make("ms_pacman")
    rewards = [step.reward_t[0] for step in rollout(environment, random_actions(environment, 200))]
    assert max(rewards) >= 10.0  # a dot is worth 10 points
    assert {reward % 10 for reward in rewards} == {0.0}
    assert rewards[0].dtype == np.float32


def test_same_seed_gives_the_same_games_whatever_the_number_of_threads():
    actions = random_actions(make(protocol=MACHADO, num_envs=3), 100)
    first, second = (
        rollout(make(protocol=MACHADO, num_envs=3, seed=7, num_threads=n), actions) for n in (1, 2)
    )
    for one, other in zip(first, second, strict=True):
        for field, other_field in zip(one, other, strict=True):
            np.testing.assert_array_equal(field, other_field)


def test_copies_draw_from_consecutive_seeds():
    actions = random_actions(make(protocol=MACHADO, num_envs=3), 60)
    together = rollout(make(protocol=MACHADO, num_envs=3, seed=10), actions)
    alone = rollout(make(protocol=MACHADO, num_envs=1, seed=12), actions[:, 2:])
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.observation_t[2], other.observation_t[0])
    assert any((step.observation_t[1] != step.observation_t[2]).any() for step in together)


def test_reset_starts_anew_from_the_seed():
    environment = make("freeway", num_envs=4)
    first = environment.reset().observation_t
    for action in random_actions(environment, 30):
        environment.step(action)
    np.testing.assert_array_equal(environment.reset().observation_t, first)
    environment.close()


def test_observations_are_not_overwritten_by_later_steps():
    environment = make("freeway", num_envs=2)
    observation = environment.reset().observation_t
    copy = observation.copy()
    for action in random_actions(environment, 10):
        environment.step(action)
    environment.close()
    np.testing.assert_array_equal(observation, copy)


def test_time_steps_have_the_documented_dtypes_and_shapes():
    environment = make(num_envs=2)
    dtypes = ("uint8", "float32", "bool", "bool", "bool", "float32", "int64")
    shapes = ((2, 4, 84, 84), *[(2,)] * 6)
    for time_step in rollout(environment, random_actions(environment, 1)):
        assert tuple(field.dtype.name for field in time_step) == dtypes
        assert tuple(field.shape for field in time_step) == shapes
    assert environment.observation_shape == (4, 84, 84)
    assert environment.observation_dtype == np.uint8
    assert environment.frame_shape == (84, 84)
    assert (environment.stack_size, environment.frame_skip) == (4, 4)
    assert environment.action_meanings == ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert (environment.num_actions, environment.num_envs) == (4, 2)
    assert environment.game == "breakout"


def test_full_action_space_has_18_actions():
    environment = make("pong", protocol=replace(NATURE, full_action_space=True))
    assert environment.num_actions == 18
    assert environment.action_meanings[-1] == "DOWNLEFTFIRE"
    environment.close()


@pytest.mark.parametrize("max_pool", [True, False])
def test_rendered_screen_is_the_agents_game_in_colour(max_pool):
    protocol = replace(NATURE, noop_max=0, max_pool=max_pool, repeat_action_probability=0.25)
    environment = make("ms_pacman", protocol=protocol, seed=4, render_mode="rgb_array")
    oracle = AtariOracle("ms_pacman", seed=4, repeat_action_probability=0.25)
    environment.reset()
    assert environment.render().shape == (210, 160, 3)
    for action in random_actions(environment, 60):
        environment.step(action)
        *_, before, last = oracle.step(action[0]).rgb_frames
        expected = np.maximum(before, last) if max_pool else last
        np.testing.assert_array_equal(environment.render(), expected)
    environment.close()


def test_rendered_screen_keeps_the_size_of_taller_games():
    environment = make("pacman", render_mode="rgb_array")
    environment.reset()
    assert environment.render().shape == (250, 160, 3)
    environment.close()


def test_rendered_game_that_parts_from_the_agents_is_refused():
    environment = make("pong", seed=1, render_mode="rgb_array")
    environment.reset()
    environment._renderer.reset(2)
    actions = random_actions(environment, 500)
    with pytest.raises(RuntimeError, match="parted"):
        step_through(environment, actions)
    environment.close()


def test_rendering_needs_a_single_environment_that_asked_for_it():
    with pytest.raises(ValueError, match="needs num_envs=1, got num_envs=2"):
        make(num_envs=2, render_mode="rgb_array")
    with pytest.raises(ValueError, match="render_mode='human' must be None or 'rgb_array'"):
        make(render_mode="human")
    environment = make(render_mode="rgb_array")
    with pytest.raises(ValueError, match="call reset"):
        environment.render()
    environment.close()
    environment = make()
    environment.reset()
    with pytest.raises(ValueError, match="made with render_mode='rgb_array'"):
        environment.render()
    environment.close()


def test_split_step_answers_what_the_whole_one_does():
    whole, split = (make("breakout", protocol=MACHADO, num_envs=2, seed=3) for _ in range(2))
    whole.reset(), split.reset()
    for actions in random_actions(whole, 300):
        split.step_async(actions)
        for one, other in zip(whole.step(actions), split.step_wait(), strict=True):
            np.testing.assert_array_equal(one, other)
    whole.close(), split.close()


def test_halves_of_a_step_come_in_order():
    environment = make("pong")
    environment.reset()
    with pytest.raises(RuntimeError, match="call step_async first"):
        environment.step_wait()
    environment.step_async(np.zeros(1, dtype=np.int64))
    with pytest.raises(RuntimeError, match="still has to be waited for"):
        environment.step_async(np.zeros(1, dtype=np.int64))
    assert environment.reset().is_first_t.all(), "a reset ends the step under way"
    environment.close()


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros(3, dtype=np.int64), r"shape \(2,\), got int64 of shape \(3,\)"),
        (np.zeros(2, dtype=np.int32), "must be int64"),
        (np.array([0, 4]), r"in 0\.\.3, got \[0, 4\]"),
        (np.array([-1, 0]), r"in 0\.\.3, got \[-1, 0\]"),
    ],
)
def test_bad_actions_are_refused_before_any_game_moves(actions, message):
    environment = make(num_envs=2)
    environment.reset()
    with pytest.raises(ValueError, match=message):
        environment.step(actions)
    environment.step(np.array([0, 3]))
    environment.close()
    environment.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "env.num_envs=0"),
        ({"seed": -1}, "seed=-1 must be in"),
        ({"seed": 2**31 - 1}, "seed=2147483647 must be in"),
        ({"num_threads": -1}, "env.num_threads=-1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("Pong", "pong"), ("MsPacman", "ms_pacman"), ("space_invader", "space_invaders")],
)
def test_unknown_game_is_refused_with_the_nearest_name(name, nearest):
    with pytest.raises(
        ValueError, match=rf"env.game='{name}'.*; did you mean {nearest}\?"
    ) as error:
        make(name)
    assert "\n" not in str(error.value)


def test_two_player_cartridges_are_refused():
    # ALE ends the process when it loads one of these.
    assert not {"combat", "joust", "maze_craze", "warlords"} & set(known_games())
    with pytest.raises(ValueError, match=r"env\.game='combat'"):
        check_game("combat")


def test_missing_cartridge_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    assert known_games() == ()
    with pytest.raises(ValueError, match=r"env.game='pong': its cartridge .*pong.bin is missing"):
        check_game("pong")


def test_games_of_the_published_tables_are_known():
    names = {"alien", "defender", "montezuma_revenge", "phoenix", "surround", "yars_revenge"}
    assert names <= set(known_games())
    assert len(known_games()) == 104
