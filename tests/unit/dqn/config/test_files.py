"""Whether each YAML file says what its source says, and fits with the others."""

import inspect
import math

import pytest
import torch
import yaml
from helpers.config_files import EXPERIMENTS, OPTIMIZERS, composed, optimizer_arguments
from helpers.tiny_runs import compose_config

import rmsprop
from dqn.config import CONFIG_DIR, validate
from dqn.environments.protocols import PROTOCOLS
from dqn.run import assembly, games
from dqn.run.seeding import derive_seeds

OUR_RMSPROPS = [
    name
    for name in OPTIMIZERS
    if yaml.safe_load((CONFIG_DIR / "optimizer" / f"{name}.yaml").read_text())["_target_"]
    == "rmsprop.RMSprop"
]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_can_be_built_with_every_optimizer(experiment):
    if experiment == "minatar":
        pytest.importorskip("minatar", reason="needs rmsprop-dqn[minatar]")
    seeds = derive_seeds(1)
    small = (
        "run_dir=unused",
        "agent.warmup_agent_steps=64",
        "replay.capacity=64",
        "env.num_envs=1",
    )
    config = validate(compose_config(f"experiment={experiment}", *small))
    environment = games.training_environment(config, seeds=seeds)
    for name in OPTIMIZERS:
        config = validate(compose_config(f"experiment={experiment}", f"optimizer={name}", *small))
        agent = assembly.build_agent(config, environment, seeds=seeds, device=torch.device("cpu"))
        assembly.build_replay(config, environment, seed=0, device=agent.device)
        optimizer = agent.optimizer
        module, _, class_name = config.optimizer["_target_"].rpartition(".")
        assert type(optimizer).__module__.startswith(module)
        assert type(optimizer).__name__ == class_name
        (group,) = optimizer.param_groups
        for key, value in optimizer_arguments(name).items():
            assert group[key] == (tuple(value) if isinstance(value, list) else value), key
        assert group["param_names"] == [name for name, _ in agent.network.named_parameters()]
    environment.close()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments_own_numbers_fit_together(experiment):
    config = validate(composed(f"experiment={experiment}", "run_dir=unused"))
    assert config.agent.warmup_agent_steps < config.replay.capacity
    assert config.checkpoint.period_agent_steps <= config.total_agent_steps
    assert config.evaluation.period_agent_steps <= config.total_agent_steps
    assert config.agent.epsilon.decay_agent_steps <= config.total_agent_steps


@pytest.mark.parametrize("name", OUR_RMSPROPS)
def test_rmsprop_files_state_every_constant_of_the_signature(name):
    signature = inspect.signature(rmsprop.RMSprop).parameters
    how_not_what = {"params", "capturable", "foreach", "fused", "maximize", "differentiable"}
    assert set(optimizer_arguments(name)) == set(signature) - how_not_what


def mean_to_sum(dialect, batch_size=32):
    """The dialect's constants for gradients that are ``batch_size`` times larger.

    v grows with the square; ε beside it inside the root too, outside the root as the root does.
    """
    arguments = dict(rmsprop.dialects[dialect])
    arguments["initial_square_avg"] *= batch_size**2
    arguments["eps"] *= batch_size**2 if arguments["eps_inside_sqrt"] else batch_size
    return arguments


def test_deepmind_file_is_the_dialect_but_for_a_flag_without_effect():
    arguments = optimizer_arguments("rmsprop_deepmind")
    assert arguments["momentum"] == 0.0, "where the learning rate enters momentum has no effect"
    expected = rmsprop.dialects["deepmind"] | {"lr_in_momentum": arguments["lr_in_momentum"]}
    assert arguments == expected


def test_graves_file_is_the_dialect_to_the_letter():
    assert optimizer_arguments("rmsprop_graves") == rmsprop.dialects["graves"]


@pytest.mark.parametrize(
    ("name", "dialect", "deviations"),
    [
        ("rmsprop_tf1", "dopamine", {}),
        ("rmsprop_keras", "keras", {"lr": 2.5e-4}),
    ],
)
def test_averaging_dialects_are_rescaled_to_the_summed_loss_and_else_unchanged(
    name, dialect, deviations
):
    expected = mean_to_sum(dialect) | deviations
    assert optimizer_arguments(name) == pytest.approx(expected)


def test_torch_files_are_one_setting_in_torchs_form():
    ours = optimizer_arguments("rmsprop_torch")
    theirs = optimizer_arguments("torch_rmsprop")
    assert {key: ours[key] for key in theirs} == theirs
    form = rmsprop.dialects["torch"]
    for key in ours.keys() - {"lr", "alpha", "eps", "centered"}:
        assert ours[key] == form[key], key
    assert ours["eps"] == pytest.approx(0.01 * 32)


def test_sgd_has_the_rate_that_deepminds_rmsprop_has_where_epsilon_dominates():
    deepmind, sgd, momentum = map(optimizer_arguments, ("rmsprop_deepmind", "sgd", "momentum"))
    assert sgd["lr"] == pytest.approx(deepmind["lr"] / math.sqrt(deepmind["eps"]))
    assert momentum["lr"] / (1 - momentum["momentum"]) == pytest.approx(sgd["lr"])


def step_size_of(name, **more):
    """K and s* of a file's constants, for gradients summed over 32."""
    path = CONFIG_DIR / "optimizer" / f"{name}.yaml"
    target = yaml.safe_load(path.read_text())["_target_"]
    rule = target.rpartition(".")[2].lower()
    keys = ("lr", "eps", "momentum", "eps_inside_sqrt")
    arguments = {key: value for key, value in optimizer_arguments(name).items() if key in keys}
    return rmsprop.effective_step_size(rule, **arguments, **more)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name.endswith("_matched")])
def test_matched_files_have_deepminds_step_size_and_else_their_twins_constants(name):
    more = {"num_updates": 10_000} if name == "adagrad_matched" else {}
    ours, deepmind = step_size_of(name, **more), step_size_of("rmsprop_deepmind")
    assert ours.small_gradient_rate == pytest.approx(deepmind.small_gradient_rate)
    assert ours.crossover == pytest.approx(deepmind.crossover)
    twin = optimizer_arguments(name.removesuffix("_matched"))
    theirs = optimizer_arguments(name)
    assert {key: theirs[key] for key in theirs if key not in ("lr", "eps")} == {
        key: twin[key] for key in twin if key not in ("lr", "eps")
    }


@pytest.mark.parametrize(
    ("name", "ratio"),
    [
        # K over DeepMind's, as in the table of public implementations.
        ("rmsprop_tf1", 0.988),
        ("rmsprop_torch", 0.3125),
        ("rmsprop_misread", 6.25),
        ("rmsprop_torch_defaults", 1e-2 / 3.2e-7 / 2.5e-3),
        ("adam", 5.208),
        ("adam_cleanrl", 1e-4 / 3.2e-7 / 2.5e-3),
        ("sgd", 1.0),
        ("momentum", 1.0),
        ("sgd_torch_defaults", 0.0125),
        ("momentum_torch_defaults", 0.125),
    ],
)
def test_published_files_have_the_step_sizes_of_their_sources(name, ratio):
    ours, deepmind = step_size_of(name), step_size_of("rmsprop_deepmind")
    computed = ours.small_gradient_rate / deepmind.small_gradient_rate
    assert computed == pytest.approx(ratio, rel=2e-3)


@pytest.mark.parametrize("experiment", ["nature", "machado"])
def test_full_experiments_explore_as_their_protocol_says(experiment):
    config = validate(composed(f"experiment={experiment}", "run_dir=unused"))
    protocol = PROTOCOLS[config.env.protocol]
    assert protocol.name == experiment
    epsilon = config.agent.epsilon
    assert (epsilon.begin, epsilon.end, epsilon.decay_agent_steps) == (
        protocol.behaviour_epsilon_begin,
        protocol.behaviour_epsilon_end,
        protocol.behaviour_epsilon_decay_agent_steps,
    )
    assert games.evaluation_epsilon(config) == protocol.evaluation_epsilon


def test_nature_experiment_is_the_papers_table():
    """Mnih et al. 2015, Extended Data Table 1; periods in agent steps, as there."""
    config = validate(compose_config("experiment=nature", "run_dir=unused"))
    agent = config.agent
    assert agent.batch_size == 32
    assert config.replay.capacity == 1_000_000
    assert agent.target_update_period_agent_steps == 10_000
    assert agent.discount == 0.99
    assert agent.agent_steps_per_update == 4
    assert agent.warmup_agent_steps == 50_000
    assert config.total_agent_steps * PROTOCOLS["nature"].frame_skip == 200_000_000
    assert config.evaluation.num_games == 30
    assert config.optimizer["lr"] == 0.00025
    assert config.optimizer["alpha"] == 0.95
    assert config.optimizer["eps"] == 0.01


def test_minatar_experiment_is_its_papers_example():
    """The constants at the head of kenjyoung/MinAtar's examples/dqn.py."""
    config = validate(compose_config("experiment=minatar", "run_dir=unused"))
    agent = config.agent
    assert agent.batch_size == 32
    assert config.replay.capacity == 100_000
    assert agent.target_update_period_agent_steps == 1_000
    assert agent.agent_steps_per_update == 1
    assert agent.epsilon.decay_agent_steps == 100_000
    assert agent.warmup_agent_steps == 5_000
    assert (agent.epsilon.begin, agent.epsilon.end, agent.discount) == (1.0, 0.1, 0.99)
