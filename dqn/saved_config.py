"""The configuration that a run keeps: its dotted keys, and what earlier versions called them."""

from collections.abc import Mapping

# What a kind of environment has no use for, and used to state all the same.
_UNUSED_OF_KIND = {
    "atari": ("env.id",),
    "minatar": ("env.id", "env.num_threads"),
    "control": ("env.protocol", "env.num_threads"),
}
# Names of what was chosen. They decide nothing, and earlier versions did not record them.
CHOICE_KEYS = ("choices.experiment", "choices.variant", "choices.optimizer")
_UNUSED_OF_SCREENS = ("network.hidden_sizes", "network.input_scale")


def flatten(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mappings as dotted keys.

    >>> flatten({"agent": {"epsilon": {"end": 0.1}}, "seed": 1})
    {'agent.epsilon.end': 0.1, 'seed': 1}
    """
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def upgrade_tree(config: Mapping[str, object]) -> dict[str, object]:
    """``upgrade`` of nested mappings."""
    flat = flatten(config)
    upgraded = upgrade(flat)
    return dict(config) if upgraded == flat else _nested(upgraded)


def upgrade(flat: Mapping[str, object]) -> dict[str, object]:
    """A flat configuration in today's keys; of today it comes back as it is.

    Until November 2026 the torso was a name whose options stood beside it, the loss was one number
    of the agent's, and every environment stated what only some have.

    >>> old = {"network.torso": "mlp", "network.hidden_sizes": [8], "network.input_scale": [],
    ...        "network.implementation": "auto", "agent.error_bound": 1.0, "env.kind": "atari",
    ...        "env.id": None}
    >>> for key, value in sorted(upgrade(old).items()): print(key, value)
    agent.max_grad_norm None
    choices.experiment None
    choices.optimizer None
    choices.variant dqn
    env.kind atari
    loss.error_bound 1.0
    loss.kind q_learning
    network.readout.kind scalar
    network.stream.kind linear
    network.torso.hidden_sizes [8]
    network.torso.input_scale []
    network.torso.kind mlp
    replay.sampler.kind uniform
    """
    if "network.torso" not in flat:
        return dict(flat)
    upgraded = dict(flat)
    torso = upgraded.pop("network.torso")
    unused = ("network.implementation",) if torso == "mlp" else _UNUSED_OF_SCREENS
    for key in (*unused, *_UNUSED_OF_KIND.get(str(flat.get("env.kind")), ())):
        upgraded.pop(key, None)
    for name in ("hidden_sizes", "input_scale", "implementation"):
        if f"network.{name}" in upgraded:
            upgraded[f"network.torso.{name}"] = upgraded.pop(f"network.{name}")
    if "agent.error_bound" in upgraded:
        upgraded["loss.error_bound"] = upgraded.pop("agent.error_bound")
    return (
        upgraded
        | dict.fromkeys(CHOICE_KEYS)
        | {
            "choices.variant": "dqn",
            "network.torso.kind": torso,
            "network.stream.kind": "linear",
            "network.readout.kind": "scalar",
            "loss.kind": "q_learning",
            "agent.max_grad_norm": None,
            "replay.sampler.kind": "uniform",
        }
    )


def _nested(flat: Mapping[str, object]) -> dict[str, object]:
    """Dotted keys as nested mappings."""
    nested: dict[str, object] = {}
    for key, value in flat.items():
        *parents, name = key.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})  # type: ignore[assignment]
        node[name] = value
    return nested
