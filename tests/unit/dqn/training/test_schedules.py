"""Schedules against the formula of the Nature agent's code and against hand-worked values."""

import math

import pytest

from dqn.training.schedules import ConstantSchedule, LinearSchedule, Schedule


def test_linear_schedule_passes_through_hand_worked_points() -> None:
    schedule = LinearSchedule(
        begin_value=1.0, end_value=0.0, begin_agent_step=100, num_agent_steps=400
    )
    points = {0: 1.0, 100: 1.0, 200: 0.75, 300: 0.5, 500: 0.0, 501: 0.0, 10**9: 0.0}
    assert {step: schedule(step) for step in points} == points


def test_linear_schedule_equals_the_epsilon_of_the_nature_code() -> None:
    # dqn/NeuralQLearner.lua: ep_end + max(0, (ep_start - ep_end) *
    #     (ep_endt - max(0, numSteps - learn_start)) / ep_endt)
    start, end, endt, learn_start = 1.0, 0.1, 1_000_000, 50_000
    schedule = LinearSchedule(
        begin_value=start, end_value=end, begin_agent_step=learn_start, num_agent_steps=endt
    )
    for step in range(0, 1_200_000, 12_345):
        lua = end + max(0.0, (start - end) * (endt - max(0, step - learn_start)) / endt)
        assert schedule(step) == pytest.approx(lua, abs=1e-12)


@pytest.mark.parametrize(("begin_value", "end_value"), [(1.0, 0.1), (0.1, 0.7), (2.5e-4, 1e-5)])
def test_both_ends_are_met_exactly(begin_value: float, end_value: float) -> None:
    schedule = LinearSchedule(begin_value, end_value, begin_agent_step=3, num_agent_steps=7)
    assert schedule(3) == begin_value
    assert schedule(10) == end_value


def test_a_rising_schedule_rises() -> None:
    warmup = LinearSchedule(0.0, 1e-3, begin_agent_step=0, num_agent_steps=10)
    values = [warmup(step) for step in range(12)]
    assert values == sorted(values)
    assert warmup(5) == pytest.approx(5e-4)


def test_constant_schedule_is_constant() -> None:
    schedule: Schedule = ConstantSchedule(0.05)
    assert {schedule(step) for step in (0, 1, 10**9)} == {0.05}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("begin_value", math.nan),
        ("end_value", math.inf),
        ("begin_agent_step", -1),
        ("num_agent_steps", 0),
    ],
)
def test_bad_arguments_are_refused_by_name(key: str, value: float) -> None:
    arguments = {
        "begin_value": 1.0,
        "end_value": 0.1,
        "begin_agent_step": 0,
        "num_agent_steps": 10,
        key: value,
    }
    with pytest.raises(ValueError, match=f"^{key}="):
        LinearSchedule(**arguments)  # type: ignore[arg-type]


def test_a_constant_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="value=nan"):
        ConstantSchedule(math.nan)
