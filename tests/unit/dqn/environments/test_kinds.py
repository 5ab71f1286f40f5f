"""What the kinds of environments say of a spec, and that they build what it names."""

import numpy as np
import pytest

from dqn.environments import (
    KINDS,
    MINATAR_PROTOCOLS,
    AtariEnvironment,
    ControlEnvironment,
    EnvironmentSpec,
    MinAtarEnvironment,
)
from dqn.environments.protocols import PROTOCOLS

ATARI = EnvironmentSpec(kind="atari", game="breakout", protocol="machado", num_threads=1)
MINATAR = EnvironmentSpec(kind="minatar", game="seaquest", protocol="minatar_v0")
CONTROL = EnvironmentSpec(kind="control", game="mountain_car", id="MountainCar-v0")


def specs_by_kind():
    return {spec.kind: spec for spec in (ATARI, MINATAR, CONTROL)}


def test_every_kind_is_tested_here():
    assert set(specs_by_kind()) == set(KINDS)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("spec", "direct"),
    [
        (
            ATARI,
            lambda options: AtariEnvironment(
                "breakout", protocol=PROTOCOLS["machado"], num_threads=1, **options
            ),
        ),
        (
            MINATAR,
            lambda options: MinAtarEnvironment(
                "seaquest",
                protocol=MINATAR_PROTOCOLS["minatar_v0"],
                num_envs=options["num_envs"],
                seed=options["seed"],
            ),
        ),
        (
            CONTROL,
            lambda options: ControlEnvironment(
                "MountainCar-v0", num_envs=options["num_envs"], seed=options["seed"]
            ),
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, EnvironmentSpec) else "",
)
def test_a_kind_builds_the_environment_that_its_class_would(spec, direct, training):
    if spec.kind == "minatar":
        pytest.importorskip("minatar")
    KINDS[spec.kind].check(spec)
    options = {"num_envs": 2, "seed": 5, "training": training}
    built, expected = KINDS[spec.kind].build(spec, **options), direct(options)
    assert type(built) is type(expected)
    assert built.num_actions == expected.num_actions
    np.testing.assert_equal(built.reset()._asdict(), expected.reset()._asdict())
    for t in range(40):
        actions = np.array([t, t // 2]) % built.num_actions
        np.testing.assert_equal(built.step(actions)._asdict(), expected.step(actions)._asdict())
    built.close()
    expected.close()


def test_only_evaluation_sees_through_a_lost_life():
    """``training`` reaches Atari: a life lost in Breakout ends the return in training alone."""
    spec = EnvironmentSpec(kind="atari", game="breakout", protocol="nature", num_threads=1)
    num_ends = {}
    for training in (True, False):
        environment = KINDS["atari"].build(spec, num_envs=1, seed=0, training=training)
        environment.reset()
        steps = [environment.step(np.array([t % 2])) for t in range(200)]
        num_ends[training] = sum(bool(step.is_terminal_t[0] & ~step.is_last_t[0]) for step in steps)
        environment.close()
    assert num_ends[True] > 0
    assert num_ends[False] == 0


@pytest.mark.parametrize("spec", [ATARI, CONTROL], ids=lambda spec: spec.kind)
def test_a_kind_builds_an_environment_that_can_be_seen(spec):
    pytest.importorskip("pygame")
    environment = KINDS[spec.kind].build(
        spec, num_envs=1, seed=0, training=False, render_mode="rgb_array"
    )
    environment.reset()
    assert environment.render().shape[-1] == 3
    environment.close()


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("atari", {"game": "pongg"}, r"env\.game='pongg': .*did you mean pong"),
        ("atari", {"protocol": "natur"}, r"env\.protocol='natur': .*did you mean nature"),
        ("atari", {"protocol": None}, r"env\.protocol=null: an Atari game needs one"),
        ("minatar", {"game": "asterx"}, r"env\.game='asterx': .*did you mean asterix"),
        ("minatar", {"protocol": "nature"}, r"env\.protocol='nature': MinAtar's protocols are"),
        ("minatar", {"protocol": None}, r"env\.protocol=null: MinAtar needs one"),
        ("control", {"id": None}, r"env\.id=null: must be a Gymnasium id"),
        ("control", {"game": "cartpole"}, r"env\.game=cartpole: must be the name of env\.id=Mou"),
        (
            "control",
            {"id": "MountainCar-v3"},
            r"env\.id='MountainCar-v3': Gymnasium knows no such task",
        ),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused(kind, changes, message):
    stated = vars(specs_by_kind()[kind]) | changes
    with pytest.raises(ValueError, match=message):
        KINDS[kind].check(EnvironmentSpec(**stated))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_an_atari_agent_is_asked_for_what_its_protocol_says(name):
    spec, protocol = EnvironmentSpec(kind="atari", game="pong", protocol=name), PROTOCOLS[name]
    kind = KINDS["atari"]
    assert kind.protocol(spec) is protocol
    assert kind.evaluation_epsilon(spec) == protocol.evaluation_epsilon
    assert kind.max_abs_reward(spec) == protocol.max_abs_reward == 1.0
    assert kind.behaviour_epsilon(spec) == (
        protocol.behaviour_epsilon_begin,
        protocol.behaviour_epsilon_end,
        protocol.behaviour_epsilon_decay_agent_steps,
    )


@pytest.mark.parametrize("spec", [MINATAR, CONTROL], ids=lambda spec: spec.kind)
def test_other_agents_are_asked_for_greedy_evaluation_and_nothing_else(spec):
    kind = KINDS[spec.kind]
    assert kind.evaluation_epsilon(spec) == 0.0
    assert kind.max_abs_reward(spec) is None
    assert kind.behaviour_epsilon(spec) is None


def test_a_control_task_has_no_protocol():
    assert KINDS["control"].protocol(CONTROL) is None
