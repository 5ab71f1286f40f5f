"""Three steps of every dialect against numbers computed with the libraries themselves.

The vectors were made in float64 with torch 2.13, TensorFlow 2.21, Keras 3.15, optax 0.2.8, and
timm's, Stable-Baselines3's, DQN Zoo's and DQN's (Lua, transcribed) files.
"""

import pytest
import torch
from helpers.trajectories import run
from torch.testing import assert_close

from rmsprop import RMSprop, dialects

THETA = (1.0, 2.0, 3.0, 4.0)
GRADS = ((0.1, -0.2, 0.0, 3.0), (0.3, -0.1, 0.5, -1.0), (-0.2, -0.3, 0.5, 2.0))

CASES = [
    ("torch", {}, (0.858747608, 2.225337415, 2.82911191, 3.87794911)),
    ("torch", {"centered": True}, (0.857551988, 2.227292231, 2.827892087, 3.877201074)),
    ("torch", {"momentum": 0.9}, (0.602323586, 2.436748505, 2.739111928, 3.735538557)),
    (
        "torch",
        {"centered": True, "momentum": 0.9},
        (0.599577596, 2.439931478, 2.737438702, 3.733985199),
    ),
    ("torch", {"weight_decay": 0.1}, (0.837257119, 1.974162032, 2.738391648, 3.860438131)),
    (  # As ShangtongZhang/DeepRL and MinAtar use PyTorch's.
        "torch",
        {"lr": 2.5e-4, "alpha": 0.95, "eps": 0.01, "centered": True},
        (0.998794784, 2.002233802, 2.99815979, 3.998602146),
    ),
    ("timm", {}, (0.997955303, 2.006693883, 2.988854114, 3.970934601)),
    ("timm", {"centered": True}, (0.997952524, 2.006702053, 2.988812639, 3.969937037)),
    ("timm", {"momentum": 0.9}, (0.993171972, 2.011288067, 2.983929533, 3.939560274)),
    ("tf1", {"lr": 1e-2}, (0.997955303, 2.006693883, 2.988854114, 3.970934601)),
    (
        "tf1",
        {"lr": 1e-2, "centered": True, "momentum": 0.9},
        (0.993166324, 2.011297514, 2.98388067, 3.937627772),
    ),
    ("sb3_tf_like", {"eps": 1e-5}, (0.997995191, 2.006062873, 2.98989299, 3.961761944)),
    (
        "sb3_tf_like",
        {"eps": 1e-5, "centered": True, "momentum": 0.9},
        (0.993550758, 2.010408322, 2.985352966, 3.921019434),
    ),
    ("keras", {"lr": 1e-2}, (0.955829951, 2.072537513, 2.945435737, 3.960745499)),
    (
        "keras",
        {"lr": 1e-2, "centered": True, "momentum": 0.9},
        (0.865161729, 2.150950438, 2.911176203, 3.910790037),
    ),
    ("optax", {"lr": 1e-2}, (0.955828452, 2.072538103, 2.945435659, 3.960745497)),
    (
        "optax",
        {"lr": 1e-2, "momentum": 0.9, "nesterov": True},
        (0.842984443, 2.198432573, 2.870713308, 3.885240099),
    ),
    (
        "optax",
        {"lr": 1e-2, "bias_correction": True},
        (0.986020722, 2.030050954, 2.974273106, 3.985139344),
    ),
    ("deepmind", {}, (0.999522207, 2.001278602, 2.998456057, 3.99859657)),
    ("dopamine", {}, (0.9999494, 2.000158249, 2.999735982, 3.999162863)),
]


@pytest.mark.parametrize(("dialect", "changes", "expected"), CASES)
def test_dialect_repeats_the_vector_of_its_library(dialect, changes, expected):
    options = {**dialects[dialect], **changes}
    theta = run(lambda params: RMSprop(params, **options), THETA, GRADS)
    assert_close(torch.tensor(theta), torch.tensor(expected), rtol=0, atol=2e-9)


def test_mean_loss_dialect_on_averaged_gradients_repeats_the_sum_loss_dialect():
    averaged = [[g / 32 for g in row] for row in GRADS]
    summed = run(lambda params: RMSprop(params, **dialects["deepmind"]), THETA, GRADS)
    mean = run(lambda params: RMSprop(params, **dialects["deepmind_mean_loss"]), THETA, averaged)
    assert_close(torch.tensor(mean), torch.tensor(summed), rtol=0, atol=1e-15)


def test_scalar_trace_of_the_lua_dqn_with_a_zero_gradient_in_it():
    theta = torch.ones((), dtype=torch.float64)
    optimizer = RMSprop([theta], **dialects["deepmind"])
    trace = []
    for grad in (1.0, -2.0, 0.5, 0.0, 3.0):
        theta.grad = torch.tensor(grad, dtype=torch.float64)
        optimizer.step()
        trace.append(theta.item())
    expected = (
        0.9989574279297146,
        0.9999480733485638,
        0.999701504513227,
        0.999701504513227,
        0.9987833216503126,
    )
    assert trace == pytest.approx(expected, rel=0, abs=1e-15)


@pytest.mark.parametrize(
    ("options", "scale", "expected"),
    [
        (dialects["dopamine"], 1 / 32, 0.9999775788791934),
        ({"lr": 2.5e-4, "alpha": 0.95, "eps": 0.01, "centered": True}, 1, 0.9987334816001809),
        ({"lr": 2.5e-4, "alpha": 0.95, "eps": 0.01, "centered": True}, 1 / 32, 0.9993326661725461),
        (  # devsisters/DQN-tensorflow reads "gradient momentum" as heavy-ball momentum.
            {**dialects["tf1"], "lr": 2.5e-4, "momentum": 0.95, "eps": 0.01},
            1 / 32,
            0.9999837717753312,
        ),
    ],
)
def test_scalar_end_points_of_settings_in_public_dqn_code(options, scale, expected):
    grads = [[scale * g] for g in (1.0, -2.0, 0.5, 0.0, 3.0)]
    theta = run(lambda params: RMSprop(params, **options), [1.0], grads)
    assert theta == pytest.approx([expected], rel=0, abs=1e-15)


def test_keras_own_golden_step():
    options = {**dialects["keras"], "lr": 0.5}
    theta = run(lambda params: RMSprop(params, **options), THETA, [(1.0, 6.0, 7.0, 2.0)])
    assert theta == pytest.approx([-0.5811, 0.4189, 1.4189, 2.4189], abs=5e-5)


def test_keras_own_golden_centred_trace():
    theta = torch.ones(10)
    optimizer = RMSprop([theta], **{**dialects["keras"], "centered": True})
    steady = torch.arange(1, 11) / 10
    for grad, expected in zip(
        (torch.full((10,), 0.01), steady, steady, steady, steady),
        (0.9967, 0.9933, 0.9908, 0.9885, 0.9864),
        strict=True,
    ):
        theta.grad = grad
        optimizer.step()
        assert_close(theta, torch.full((10,), expected), rtol=5e-4, atol=5e-4)


def test_keras_legacy_differs_from_keras_3_by_the_place_of_epsilon_only():
    legacy, keras = dialects["keras_legacy"], dialects["keras"]
    different = {key for key in legacy if legacy[key] != keras[key]}
    assert different == {"eps_inside_sqrt", "decoupled_weight_decay"}


@pytest.mark.parametrize("name", sorted(dialects))
def test_every_dialect_states_all_constants_and_constructs(name):
    options = dialects[name]
    optimizer = RMSprop([torch.zeros(1)], **options)
    assert options == {key: optimizer.defaults[key] for key in options}
    stated = set(optimizer.defaults) - {
        "capturable", "foreach", "fused", "maximize", "differentiable",
    }  # fmt: skip
    assert stated - set(options) <= {"lr"}
