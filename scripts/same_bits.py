"""Whether this checkout trains to the bit as an earlier commit did, and goes on with its runs.

    python scripts/same_bits.py ade623a                    # all twenty settings
    python scripts/same_bits.py ade623a --only pong-fp32   # those whose names begin so
    python scripts/same_bits.py HEAD --updates 200         # a quick look at what is not committed

Each setting is trained to its half by the commit and by this checkout. The commit goes on with its
own run; this checkout goes on with its own and with a copy of the commit's. Weights and optimizer
state of the three ends must be equal in every bit, and those of the two halves.
"""

import argparse
import io
import itertools
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

# This checkout, installed or not.
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from faults.same_runs import differences  # noqa: E402

from dqn import checkpoint  # noqa: E402

# Keys that commits before configs/loss called otherwise.
OLD_KEYS = {
    "network.torso.implementation": "network.implementation",
    "network.torso.hidden_sizes": "network.hidden_sizes",
    "loss.error_bound": "agent.error_bound",
}
COMMON = (
    "device=cpu",
    "agent.agent_steps_per_update=1",
    "agent.warmup_agent_steps=500",
    "agent.target_update_period_agent_steps=100",
    "agent.epsilon.decay_agent_steps=1000",
    "agent.learning_rate.decay_agent_steps=1500",
    "agent.learning_rate.end_factor=1.0",
    "replay.capacity=2000",
    "evaluation.period_agent_steps=1000000",
    "evaluation.num_games=1",
    "evaluation.epsilon=0.5",
    "evaluation.stop_at_return_mean=null",
    "evaluation.video=false",
)
GAMES = {
    "cartpole": ("experiment=cartpole", "agent.n_step=1", "agent.double_q_learning=false"),
    "minatar": ("experiment=minatar", "env.game=breakout", "agent.double_q_learning=true"),
    # The updates of an eighth of its agent steps are as long as all of the other two.
    "pong": ("experiment=pong", "env.protocol=nature", "agent.agent_steps_per_update=4"),
}


def settings() -> dict[str, tuple[str, ...]]:
    """Overrides by name: game, precision, torso, order of learning and stepping."""
    found = {}
    for game, precision, torso, order in itertools.product(
        GAMES, ("fp32", "bf16"), ("native", "torch"), ("concurrent", "sequential")
    ):
        overrides = [*COMMON, *GAMES[game], f"precision={precision}"]
        overrides.append(f"concurrent={'true' if order == 'concurrent' else 'false'}")
        if game != "cartpole":
            overrides.append(f"network.torso.implementation={torso}")
        elif torso == "native":
            continue  # An MLP is PyTorch's.
        found["-".join((game, precision, torso, order))] = tuple(overrides)
    return found


def check_out(commit: str, into: Path) -> None:
    """The files of a commit."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(into, filter="data")


def train(code: Path, run_dir: Path, agent_steps: int, overrides: tuple[str, ...]) -> None:
    """Train or continue a run with the code of a checkout."""
    if not (code / "configs" / "loss").exists():
        overrides = tuple(
            "=".join((OLD_KEYS.get(key, key), value))
            for key, value in (override.split("=", 1) for override in overrides)
        )
    command = [sys.executable, "-m", "dqn.train", *overrides]
    command += [f"total_agent_steps={agent_steps}", f"run_dir={run_dir}"]
    environment = os.environ | {"PYTHONPATH": str(code)}
    process = subprocess.run(
        command, cwd=run_dir.parent, env=environment, capture_output=True, text=True
    )
    if process.returncode:
        sys.exit(f"{run_dir}: status {process.returncode}\n{process.stderr}")


def learned(run_dir: Path) -> dict[str, object]:
    """Weights, target weights and optimizer state of a run's newest checkpoint."""
    newest = checkpoint.load(checkpoint.available(run_dir / "checkpoints")[-1])
    return {"agent": newest.state["agent"]}


def compare(old_code: Path, overrides: tuple[str, ...], agent_steps: int, where: Path) -> list[str]:
    """What differs, at half of the run or at its end."""
    old, new, continued = where / "old", where / "new", where / "continued"
    half = agent_steps // 2
    train(old_code, old, half, overrides)
    train(ROOT, new, half, overrides)
    found = differences(learned(old), learned(new), "half")
    shutil.copytree(old, continued)
    train(old_code, old, agent_steps, overrides)
    train(ROOT, new, agent_steps, overrides)
    train(ROOT, continued, agent_steps, overrides)
    expected = learned(old)
    found += differences(expected, learned(new), "end")
    return found + differences(expected, learned(continued), "continued")


def main() -> None:
    """Print one line a setting and exit with status 1 if anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("commit", help="an earlier commit of this repository")
    parser.add_argument("--only", default="", metavar="PREFIX", help="settings that begin so")
    parser.add_argument("--updates", type=int, default=2000, metavar="N", help="(%(default)s)")
    arguments = parser.parse_args()
    chosen = {name: value for name, value in settings().items() if name.startswith(arguments.only)}
    if not chosen:
        parser.error(f"--only={arguments.only}: must begin one of {', '.join(settings())}")
    any_difference = False
    with tempfile.TemporaryDirectory() as directory:
        old_code = Path(directory) / "code"
        check_out(arguments.commit, old_code)
        for name, overrides in chosen.items():
            period = 4 if name.startswith("pong") else 1
            where = Path(directory) / name
            where.mkdir()
            found = compare(old_code, overrides, 500 + period * arguments.updates, where)
            any_difference |= bool(found)
            print(f"{name:32} {', '.join(found[:3]) or 'equal'}", flush=True)
            shutil.rmtree(where)
    sys.exit(any_difference)


if __name__ == "__main__":
    main()
