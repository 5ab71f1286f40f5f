"""Presets of the Atari protocol: each difference between two of them shown on pixels or flags."""

from dataclasses import FrozenInstanceError, fields, replace
from itertools import combinations

import numpy as np
import pytest

from dqn.environments import AtariEnvironment
from dqn.environments.protocols import (
    DQN_ZOO,
    MACHADO,
    NATURE,
    NIPS,
    PROTOCOLS,
    AtariProtocol,
    get_protocol,
)

AGENT_FIELDS = {
    "max_abs_reward",
    "behaviour_epsilon_begin",
    "behaviour_epsilon_end",
    "behaviour_epsilon_decay_agent_steps",
    "evaluation_epsilon",
}
SHOWN_BELOW = {
    "noop_max",
    "repeat_action_probability",
    "max_pool",
    "life_loss_is_terminal",
    "max_frames_per_game_evaluation",
}


def play(protocol, game, actions, *, training=True, seed=0):
    """Time steps of a reset and of each action, one copy of the game."""
    environment = AtariEnvironment(
        game, protocol=protocol, num_envs=1, seed=seed, training=training, num_threads=1
    )
    steps = [environment.reset(), *(environment.step(np.array([a])) for a in actions)]
    environment.close()
    return steps


def pixels(steps):
    return np.concatenate([step.observation_t for step in steps])


def test_every_difference_between_presets_has_its_test_below():
    names = {field.name for field in fields(AtariProtocol)} - {"name", "sources", "deviations"}
    differing = {
        name
        for one, other in combinations(PROTOCOLS.values(), 2)
        for name in names
        if getattr(one, name) != getattr(other, name)
    }
    assert differing - AGENT_FIELDS == SHOWN_BELOW


def test_noops_vary_the_start_under_nature_and_dqn_zoo_only():
    for protocol, varies in ((NATURE, True), (DQN_ZOO, True), (MACHADO, False), (NIPS, False)):
        starts = {pixels(play(protocol, "freeway", [], seed=seed)).tobytes() for seed in range(3)}
        assert (len(starts) > 1) == varies, protocol.name


def test_sticky_actions_make_machado_alone_random_from_equal_starts():
    actions = np.random.default_rng(0).integers(3, size=40)
    for protocol in PROTOCOLS.values():
        same_start = replace(protocol, noop_max=0)
        one, other = (pixels(play(same_start, "freeway", actions, seed=s)) for s in (1, 2))
        assert (one != other).any() == (protocol is MACHADO), protocol.name


def test_pooling_keeps_sprites_that_flicker_except_under_nips():
    # Ms. Pac-Man draws its ghosts on some of the emulator's frames only.
    actions = np.zeros(80, dtype=np.int64)
    unpooled = pixels(play(NIPS, "ms_pacman", actions))
    for protocol in (NATURE, DQN_ZOO, MACHADO):
        comparable = replace(protocol, noop_max=0, repeat_action_probability=0.0)
        pooled = pixels(play(comparable, "ms_pacman", actions))
        assert (pooled >= unpooled).all(), protocol.name
        assert (pooled > unpooled).any(), protocol.name


def test_lost_life_is_terminal_in_training_under_nature_and_dqn_zoo_only():
    for protocol in PROTOCOLS.values():
        for training in (True, False):
            deterministic = replace(protocol, noop_max=0, repeat_action_probability=0.0)
            steps = play(deterministic, "breakout", [1] * 120, training=training)
            ends_return = any(step.is_terminal_t[0] for step in steps)
            assert ends_return == (training and protocol in (NATURE, DQN_ZOO)), protocol.name
            assert not any(step.is_last_t[0] for step in steps)


def test_evaluation_games_are_cut_after_5_minutes_under_nature_only():
    # Without FIRE a game of Breakout never begins, and never ends.
    five_minutes = 5 * 60 * 60 // 4  # agent steps
    for protocol in (NATURE, DQN_ZOO):
        steps = play(protocol, "breakout", [0] * five_minutes, training=False)
        assert not any(step.is_last_t[0] for step in steps[:-1])
        assert steps[-1].is_last_t[0] == (protocol is NATURE)
        assert not steps[-1].is_terminal_t[0]
    for protocol in PROTOCOLS.values():
        assert protocol.max_frames_per_game(training=True) == 108_000
        allowed = 18_000 if protocol is NATURE else 108_000
        assert protocol.max_frames_per_game(training=False) == allowed


def test_exploration_numbers_are_the_published_ones():
    numbers = {
        name: (
            protocol.behaviour_epsilon_begin,
            protocol.behaviour_epsilon_end,
            protocol.behaviour_epsilon_decay_agent_steps,
            protocol.evaluation_epsilon,
        )
        for name, protocol in PROTOCOLS.items()
    }
    assert numbers == {
        "nips": (1.0, 0.1, 1_000_000, 0.05),  # arXiv 1312.5602, section 5
        "nature": (1.0, 0.1, 1_000_000, 0.05),  # Nature 518, Extended Data Table 1 and Methods
        "dqn_zoo": (1.0, 0.1, 1_000_000, 0.05),  # dqn_zoo/dqn/run_atari.py
        "machado": (1.0, 0.01, 250_000, 0.001),  # dopamine/jax/agents/dqn/configs/dqn.gin
    }


def test_every_preset_states_its_sources_and_deviations():
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.sources
        assert protocol.deviations
        assert get_protocol(name) is protocol


def test_presets_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        NATURE.frame_skip = 5
    with pytest.raises(TypeError):
        PROTOCOLS["nature"] = NIPS


def test_unknown_protocol_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(ValueError, match=r"'Nature'.*; did you mean nature\? \(dqn_zoo, machado"):
        get_protocol("Nature")
    with pytest.raises(ValueError, match=r"env.protocol='zzz': no such protocol \(dqn_zoo"):
        get_protocol("zzz")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frame_skip", 0),
        ("stack_size", 0),
        ("screen_size", (84, 0)),
        ("noop_max", -1),
        ("repeat_action_probability", 1.1),
        ("evaluation_epsilon", -0.1),
        ("behaviour_epsilon_end", 2.0),
        ("behaviour_epsilon_decay_agent_steps", -1),
        ("max_frames_per_game_training", 0),
        ("max_abs_reward", 0.0),
    ],
)
def test_field_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"protocol nature: {field}="):
        replace(NATURE, **{field: value})
