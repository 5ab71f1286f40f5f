"""Games that go on in a fresh environment exactly as they would have in the old one."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from dqn.environments import AtariEnvironment, ControlEnvironment
from dqn.environments.action_log import ActionLog, nth_seed
from dqn.environments.protocols import NATURE

# A seed every 40 steps, so that few steps see all there is to see.
SHORT_PERIOD = 40


@pytest.fixture
def short_seeding_period(monkeypatch):
    monkeypatch.setattr(ActionLog, "seeding_period_agent_steps", SHORT_PERIOD)


def atari(game, *, sticky, max_frames=108_000, num_envs=3):
    protocol = replace(
        NATURE,
        repeat_action_probability=0.25 if sticky else 0.0,
        max_frames_per_game_training=max_frames,
    )
    return AtariEnvironment(
        game, protocol=protocol, num_envs=num_envs, seed=11, training=True, num_threads=1
    )


def through_a_file(state):
    """What a checkpoint does to it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def assert_same_time_step(one, other):
    for name, field, other_field in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(field, other_field, err_msg=name)
        assert field.dtype == other_field.dtype, name


def assert_goes_on_alike(make, save_at, num_steps, seed=0):
    """Save at each of ``save_at``, go on in fresh environments, compare every field of all."""
    straight = make()
    generator = np.random.default_rng(seed)
    actions = generator.integers(straight.num_actions, size=(num_steps, straight.num_envs))
    steps, states = [straight.reset()], {}
    for t in range(num_steps):
        if t in save_at:
            states[t] = through_a_file(straight.state_dict())
        steps.append(straight.step(actions[t]))
    straight.close()
    for t, state in states.items():
        resumed = make()
        assert_same_time_step(resumed.load_state_dict(state), steps[t])
        for later in range(t, num_steps):
            assert_same_time_step(resumed.step(actions[later]), steps[later + 1])
        resumed.close()
    return steps


@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("game", ["breakout", "pong", "qbert", "ms_pacman"])
def test_atari_goes_on_to_the_pixel(game, sticky, short_seeding_period):
    """Saved at the start, in mid-game, before and after seeds; games of 60 to 400 steps."""
    steps = assert_goes_on_alike(lambda: atari(game, sticky=sticky), {0, 1, 77, 260}, 420)
    if game in ("breakout", "qbert"):
        assert sum(step.is_first_t.sum() for step in steps) > 5


def test_atari_goes_on_from_the_last_and_from_the_first_step_of_a_game(short_seeding_period):
    """Games of six steps: every seventh step opens one, every 42nd one from a new seed."""
    around = {41, 42, 43, 48, 49, 84, 85}
    steps = assert_goes_on_alike(lambda: atari("freeway", sticky=True, max_frames=24), around, 100)
    assert [t for t, step in enumerate(steps) if step.is_first_t[0]] == list(range(0, 101, 7))


@pytest.mark.parametrize("game", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"])
def test_control_task_goes_on_to_the_bit(game, short_seeding_period):
    assert_goes_on_alike(
        lambda: ControlEnvironment(game, num_envs=3, seed=5), {0, 1, 39, 40, 41, 137, 220}, 300
    )


def test_without_a_new_seed_it_is_the_emulators_own_game(short_seeding_period):
    """The first games are those of the seed; later ones differ only by the seed they open with."""
    plain, seeded = atari("breakout", sticky=True), atari("breakout", sticky=True)
    first_games = True
    plain.reset(), seeded.reset()
    plain._log.seed_anew = lambda is_first_t: np.zeros(3, dtype=bool)
    generator = np.random.default_rng(0)
    num_compared = 0
    for actions in generator.integers(4, size=(300, 3)):
        one, other = plain.step(actions), seeded.step(actions)
        for env in range(3):
            if first_games:
                np.testing.assert_array_equal(one.observation_t[env], other.observation_t[env])
                num_compared += 1
        first_games &= not other.is_first_t.any()
    assert num_compared > 90
    assert (one.observation_t != other.observation_t).any()
    plain.close(), seeded.close()


def test_new_seed_disturbs_no_other_game(short_seeding_period):
    """Alone or beside copies that are seeded at other times, copy 2 plays the same games."""
    together = atari("breakout", sticky=True)
    alone = AtariEnvironment(
        "breakout", protocol=together.protocol, num_envs=1, seed=13, training=True, num_threads=1
    )
    together.reset(), alone.reset()
    num_seeded = 0
    for actions in np.random.default_rng(1).integers(4, size=(600, 3)):
        one, other = together.step(actions), alone.step(actions[2:])
        for field, other_field in zip(one, other, strict=True):
            np.testing.assert_array_equal(field[2:], other_field)
        num_seeded = int(together._log.state_dict()["num_seedings"].sum())
    assert num_seeded >= 5
    together.close(), alone.close()


def test_log_stays_bounded_by_the_period_and_a_game(short_seeding_period):
    environment = atari("freeway", sticky=False, max_frames=24, num_envs=1)
    environment.reset()
    for _ in range(300):
        environment.step(np.zeros(1, dtype=np.int64))
        assert environment.state_dict()["log"]["actions"].shape[1] < SHORT_PERIOD + 7
    environment.close()


def test_every_seed_is_another_and_known_beforehand():
    seeds = [nth_seed(seed, number) for seed in range(50) for number in range(1, 50)]
    assert len(set(seeds)) == 50 * 49
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert nth_seed(3, 2) == int(np.random.SeedSequence([3, 2]).generate_state(1)[0]) % 2**31


def test_environments_of_another_game_or_number_are_refused():
    state = ControlEnvironment("CartPole-v1", num_envs=2, seed=0)
    state.reset()
    saved = state.state_dict()
    with pytest.raises(ValueError, match="of 2 environments, these are 3"):
        ControlEnvironment("CartPole-v1", num_envs=3, seed=0).load_state_dict(saved)
    with pytest.raises(ValueError, match="of CartPole-v1, not of Acrobot-v1"):
        ControlEnvironment("Acrobot-v1", num_envs=2, seed=0).load_state_dict(saved)


def test_games_that_come_to_another_picture_are_refused():
    environment = ControlEnvironment("CartPole-v1", num_envs=2, seed=0)
    environment.reset()
    environment.step(np.zeros(2, dtype=np.int64))
    saved = environment.state_dict()
    saved["log"]["actions"][1, 0] = 1
    with pytest.raises(ValueError, match="another version of ale-py or Gymnasium"):
        environment.load_state_dict(saved)


def test_nothing_can_be_saved_before_the_start_or_within_a_step():
    for environment in (
        atari("pong", sticky=False),
        ControlEnvironment("CartPole-v1", num_envs=3, seed=0),
    ):
        with pytest.raises(RuntimeError, match="needs games in progress"):
            environment.state_dict()
        environment.reset()
        environment.step_async(np.zeros(3, dtype=np.int64))
        with pytest.raises(RuntimeError, match="no step under way"):
            environment.state_dict()
        environment.close()


def test_log_of_a_long_game_grows_without_losing_an_action():
    log = ActionLog(num_envs=2, seed=0)
    actions = np.random.default_rng(0).integers(18, size=(1000, 2))
    for row in actions:
        log.record(row)
    np.testing.assert_array_equal(log.state_dict()["actions"].numpy(), actions.T)
