"""docs/fidelity.md against the code: values, named tests, deviations and measured pixels."""

import ast
import re
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from helpers.atari_oracle import AtariOracle
from helpers.tiny_runs import compose_config
from omegaconf import OmegaConf
from PIL import Image

from dqn.config import validate
from dqn.environments import AtariEnvironment
from dqn.environments.protocols import DQN_ZOO, NATURE, PROTOCOLS, AtariProtocol

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
COLUMNS = ["item", "ours", "Mnih 2015", "DQN Zoo", "shown by"]
VALUE = re.compile(r"`([a-z_0-9.]+) = ([^`]+)`")


def tables():
    """Header and rows of each table of the page."""
    blocks = re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.MULTILINE)
    parsed = []
    for block in blocks:
        lines = block.strip().split("\n")
        header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
        parsed.append((header, [dict(zip(header, row, strict=True)) for row in rows]))
    return parsed


ROWS = [row for header, rows in tables() if header == COLUMNS for row in rows]


def stated_values():
    return [match for row in ROWS for match in VALUE.findall(row["ours"])]


def test_page_agrees_with_the_code():
    config = compose_config("experiment=nature")
    config.agent.epsilon = asdict(validate(config).agent.epsilon)  # With the protocol's numbers.
    assert len(stated_values()) > 40
    for key, text in stated_values():
        scope, _, name = key.partition(".")
        if scope == "config":
            value = OmegaConf.select(config, name, throw_on_missing=True)
        else:
            value = getattr(PROTOCOLS[scope], name)
        assert value == ast.literal_eval(text), key
        assert type(value) is type(ast.literal_eval(text)), key


def test_every_field_of_a_protocol_is_on_the_page_for_both_presets():
    # ε in training is stated in the agent's configuration, which the page quotes.
    in_config = {f"behaviour_epsilon_{part}" for part in ("begin", "end", "decay_agent_steps")}
    names = {field.name for field in fields(AtariProtocol)} - {"name", "sources", "deviations"}
    stated = {key for key, _ in stated_values()}
    for preset in ("nature", "dqn_zoo"):
        assert {f"{preset}.{name}" for name in names - in_config} <= stated
    for protocol in (NATURE, DQN_ZOO):
        chosen = ["experiment=nature", f"env.protocol={protocol.name}", "run_dir=unused"]
        epsilon = validate(compose_config(*chosen)).agent.epsilon
        assert protocol.behaviour_epsilon_begin == epsilon.begin
        assert protocol.behaviour_epsilon_end == epsilon.end
        assert protocol.behaviour_epsilon_decay_agent_steps == epsilon.decay_agent_steps


def test_the_settings_of_the_page_do_not_depend_on_which_preset_is_chosen():
    one, other = (
        OmegaConf.to_container(compose_config("experiment=nature", f"env.protocol={name}"))
        for name in ("nature", "dqn_zoo")
    )
    one["env"].pop("protocol")
    other["env"].pop("protocol")
    assert one == other


def test_every_verdict_is_same_or_differs_for_a_reason():
    assert len(ROWS) > 30
    for row in ROWS:
        for source in ("Mnih 2015", "DQN Zoo"):
            assert re.match(r"same\b|differs, because \w", row[source]), (row["item"], source)


def test_every_row_is_shown_by_a_test_that_exists():
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    for row in ROWS:
        named = re.findall(r"`(\w+)`", row["shown by"])
        assert named, row["item"]
        assert set(named) <= tests, row["item"]


@pytest.mark.parametrize("protocol", [NATURE, DQN_ZOO], ids=lambda protocol: protocol.name)
def test_deviations_are_those_of_the_preset(protocol):
    (listing,) = re.findall(rf"^`{protocol.name}`:\n\n((?:- .*\n|  .*\n)+)", PAGE, re.MULTILINE)
    items = [" ".join(item.split()) for item in re.split(r"^- ", listing, flags=re.MULTILINE)[1:]]
    assert tuple(items) == protocol.deviations


def dqn_zoo_screen(rgb_frames):
    """processors.py: maximum over the last two frames, rgb2y (truncated), PIL's bilinear resize."""
    rgb = np.maximum(*rgb_frames[-2:])
    luminance = np.tensordot(rgb, [0.299, 0.587, 1 - (0.299 + 0.587)], (-1, 0)).astype(np.uint8)
    return np.asarray(Image.fromarray(luminance).resize((84, 84), Image.Resampling.BILINEAR))


def pixel_table():
    (rows,) = (rows for header, rows in tables() if header[0] == "game")
    return rows


@pytest.mark.parametrize("row", pixel_table(), ids=lambda row: row["game"])
def test_grey_levels_differ_from_luminance_and_bilinear_by_as_much_as_the_page_says(row):
    from_the_start = AtariProtocol(**{**vars(DQN_ZOO), "noop_max": 0})
    environment = AtariEnvironment(
        row["game"], protocol=from_the_start, num_envs=1, seed=1, training=True, num_threads=1
    )
    oracle = AtariOracle(row["game"], seed=1)
    environment.reset()
    generator = np.random.default_rng(0)
    differences = []
    for _ in range(60):
        action = generator.integers(len(oracle.actions))
        ours = environment.step(np.array([action])).observation_t[0, -1].astype(float)
        differences.append(np.abs(ours - dqn_zoo_screen(oracle.step(action).rgb_frames)))
    environment.close()
    assert np.mean(differences) == pytest.approx(float(row["mean difference"]), abs=0.01)
    # ALE's resize rounds in single precision: one level.
    assert np.max(differences) == pytest.approx(float(row["largest difference"]), abs=1.0)
