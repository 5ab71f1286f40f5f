"""Configurations that version 0.1.0 wrote in November 2026 (tests/data), read by this one."""

from dataclasses import asdict
from pathlib import Path

import pytest
from helpers.tiny_runs import compose_config

from dqn.config import load_config, load_train_config, validate
from dqn.saved_config import CHOICE_KEYS, flatten, upgrade

SAVED = Path(__file__).parents[2] / "data" / "november_2026"


@pytest.mark.parametrize("experiment", ["nature", "minatar", "cartpole"])
def test_saved_experiment_means_what_it_means_today(experiment):
    saved = flatten(asdict(load_train_config(SAVED / f"{experiment}.yaml")))
    today = flatten(asdict(validate(compose_config(f"experiment={experiment}", "run_dir=run"))))
    unknown = {"choices.experiment": None, "choices.optimizer": None}
    assert saved == today | unknown | {"choices.variant": "dqn"}
    assert {key: type(value) for key, value in saved.items() if key not in CHOICE_KEYS} == {
        key: type(value) for key, value in today.items() if key not in CHOICE_KEYS
    }


def test_of_what_is_in_todays_keys_nothing_changes():
    upgraded = upgrade(flatten(load_config(SAVED / "nature.yaml")))
    assert upgrade(upgraded) == upgraded


def test_what_differed_then_differs_still():
    saved = flatten({"network": {"torso": "nips_cnn", "implementation": "torch"}})
    assert upgrade(saved)["network.torso.kind"] == "nips_cnn"
    assert upgrade(saved)["network.torso.implementation"] == "torch"
    squared = upgrade({"network.torso": "mlp", "agent.error_bound": None})
    assert squared["loss.error_bound"] is None
