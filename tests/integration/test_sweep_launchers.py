"""The same sweep on each of Hydra's launchers, as a user starts it: a command and its processes."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from helpers.tiny_runs import CARTPOLE, read_lines

from dqn.config import CONFIG_DIR

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A sweep of two runs on a machine with any number of cores.
    "LOKY_MAX_CPU_COUNT": "2",
}


def dqn_train(*arguments, cwd):
    command = [sys.executable, "-m", "dqn.train", *arguments]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)


def plugin(name):
    """Skips where a launcher's extra is not installed."""
    present = importlib.util.find_spec(f"hydra_plugins.hydra_{name}_launcher") is not None
    return pytest.mark.skipif(not present, reason=f"needs hydra-{name}-launcher")


LAUNCHERS = [
    pytest.param(("hydra.launcher.n_jobs=2",), id="joblib"),
    pytest.param(
        ("hydra/launcher=submitit_local",),
        id="submitit",
        marks=[plugin("submitit"), pytest.mark.slow],
    ),
    pytest.param(
        (
            "hydra/launcher=ray_tasks",
            "+hydra.launcher.ray.init.num_cpus=2",
        ),
        id="ray",
        marks=[plugin("ray"), pytest.mark.slow],
    ),
]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_bad_run_stops_no_other_and_a_rerun_does_only_what_is_missing(launcher, tmp_path):
    command = (
        "--config-name=sweep",
        *launcher,
        *CARTPOLE,
        "total_agent_steps=200",
        "hydra.sweep.dir=swept",
        "run_dir=swept/seed=${seed}/${agent.discount}",
        "seed=1,2",
    )
    first = dqn_train(*command, "agent.discount=2,0.9", cwd=tmp_path)
    assert first.returncode == 2, first.stderr
    assert "sweep swept: 2 of 4 done, 0 running, 2 failed" in first.stderr
    failed = [line for line in first.stderr.splitlines() if line.startswith("  failed  ")]
    assert len(failed) == 2
    assert all("agent.discount=2: must be a number from 0 to 1" in line for line in failed)
    runs = sorted(path.parent.name for path in tmp_path.glob("swept/seed=*/*/evaluations.jsonl"))
    assert runs == ["0.9", "0.9"]
    before = {path: path.read_bytes() for path in tmp_path.glob("swept/seed=*/*/metrics.jsonl")}

    again = dqn_train(*command, "agent.discount=0.5,0.9", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "sweep swept: 4 of 4 done (2 before), 0 running, 0 failed" in again.stderr
    assert {path: path.read_bytes() for path in before} == before
    for seed in (1, 2):
        config = yaml.safe_load((tmp_path / f"swept/seed={seed}/0.5/config.yaml").read_text())
        assert (config["seed"], config["agent"]["discount"]) == (seed, 0.5)


def test_a_stopped_sweep_saves_its_runs_and_goes_on(tmp_path):
    arguments = ("-m", *CARTPOLE, "seed=1,2", "run_dir=swept/${seed}", "hydra.sweep.dir=swept")
    command = [sys.executable, "-m", "dqn.train", *arguments]
    process = subprocess.Popen(
        [*command, "total_agent_steps=100_000_000"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    metrics = tmp_path / "swept" / "1" / "metrics.jsonl"
    give_up_at = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < give_up_at:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "sweep swept: 0 of 2 done, 0 running, 0 failed, 2 stopped" in errors
    assert not (tmp_path / "swept" / "2").exists(), "the second run was never started"
    [newest] = sorted((tmp_path / "swept" / "1" / "checkpoints").glob("agent_step_*"))[-1:]
    stopped_at = int(newest.name.rpartition("_")[2])

    total = f"total_agent_steps={stopped_at + 100}"
    finished = dqn_train(*arguments, total, "seed=1", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    steps = [line["step"] for line in read_lines(metrics)]
    assert steps == sorted(steps)
    assert steps[0] < stopped_at <= steps[-1]


def test_two_sweeps_in_one_directory_are_refused(tmp_path):
    plan = tmp_path / "swept" / ".sweep" / "plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_text(json.dumps({"num_jobs": 1, "pid": os.getpid()}))
    refused = dqn_train("-m", *CARTPOLE, "hydra.sweep.dir=swept", cwd=tmp_path)
    assert refused.returncode == 2
    assert f"hydra.sweep.dir=swept: process {os.getpid()} runs a sweep" in refused.stderr


@pytest.mark.parametrize(
    ("name", "num_jobs"),
    [
        ("sweep_optimizers", 18 * 2 * 8 * 5),
        ("sweep_cartpole", 18 * 20),
        ("sweep_minatar", 8 * 2 * 5),
        ("sweep_pong", 4 * 2),
    ],
)
def test_sweep_files_name_settings_that_exist_and_a_folder_for_each_run(name, num_jobs):
    from hydra import compose, initialize_config_dir
    from hydra.core.plugins import Plugins

    from dqn.comparison.read.our_runs import _optimizer_name
    from dqn.config import compose_config, validate
    from dqn.sweep.watch import count_jobs

    Plugins.instance()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose(name, return_hydra_config=True)
    params = config.hydra.sweeper.params
    assert count_jobs(config) == num_jobs
    for optimizer in str(params.optimizer).split(","):
        assert (CONFIG_DIR / "optimizer" / f"{optimizer.strip()}.yaml").exists()
    for key in params:
        values = str(params[key]).replace("range(1,", "1,2,").split(",")[:2]
        one, other = (compose_config(name, [f"{key}={value.strip()}"]) for value in values)
        assert validate(one).total_agent_steps >= 20_000
        assert one.run_dir != other.run_dir, key
        assert Path(one.run_dir).is_relative_to(config.hydra.sweep.dir)
    # What dqn-compare will call the settings of a run that has been moved.
    run_dir = compose_config(name, ["optimizer=adam"]).run_dir
    assert _optimizer_name(Path("moved"), {"run_dir": run_dir}) == "adam"


@pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None,
    reason="needs rmsprop-dqn[optuna]",
)
@pytest.mark.slow
def test_optuna_tunes_a_learning_rate_and_epsilon(tmp_path):
    tuned = dqn_train(
        "--config-name=tune", *CARTPOLE, "total_agent_steps=200", "hydra.sweeper.n_trials=3",
        "hydra.launcher.n_jobs=1", "hydra.sweeper.n_jobs=1", cwd=tmp_path,
    )  # fmt: skip
    assert tuned.returncode == 0, tuned.stderr
    assert "3 of 3 done" in tuned.stderr
    results = yaml.safe_load(
        next(tmp_path.glob("runs/tune/**/optimization_results.yaml")).read_text()
    )
    assert results["name"] == "optuna"
    assert set(results["best_params"]) == {"optimizer.lr", "optimizer.eps"}
    assert len(list(Path(tmp_path).glob("runs/tune/**/evaluations.jsonl"))) == 3
