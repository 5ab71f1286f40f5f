"""After a loss that is infinite or NaN: where it began, and what is kept to look at."""

import io
from pathlib import Path

import torch
from torch import Tensor, nn

from dqn.agent import DQN
from dqn.system.whole_file import replace_file
from dqn.types import Batch


def nonfinite_parameter(network: nn.Module) -> str | None:
    """Name of the first parameter that holds an infinite or NaN value, None where all are finite.

    >>> layer = nn.Linear(2, 1)
    >>> _ = nn.init.constant_(layer.bias, float("nan"))
    >>> nonfinite_parameter(layer)
    'bias'
    """
    for name, parameter in network.named_parameters():
        if not parameter.isfinite().all():
            return name
    return None


def first_nonfinite(agent: DQN, batch: Batch | None) -> str:
    """Name the first thing that is not finite, in the order in which an update computes.

    The batch, then the parameters, then each layer's output for the batch's states, then the
    gradients of the last update.
    """
    fields = () if batch is None else batch._asdict().items()
    for name, field in fields:
        if field is None or not field.is_floating_point():
            continue
        if not field.isfinite().all():
            rows = (~field.isfinite()).flatten(1) if field.dim() > 1 else ~field.isfinite()[:, None]
            transitions = rows.any(dim=1).nonzero().flatten().tolist()
            return f"{name} of the batch (its transitions {_few(transitions)})"
    for network_name, network in _networks(agent):
        if (broken := nonfinite_parameter(network)) is not None:
            share = float((~network.get_parameter(broken).isfinite()).float().mean())
            return f"parameter {broken} of the {network_name} ({share:.0%} of its elements)"
    if batch is not None:
        for network_name, network in _networks(agent):
            for states_name, states in (("s_tm1", batch.s_tm1), ("s_t", batch.s_t)):
                layer = _first_nonfinite_layer(network, states)
                if layer is not None:
                    return f"output of layer {layer} of the {network_name} for {states_name}"
    for name, parameter in agent.network.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return f"gradient of {name}"
    return "the loss alone"


def write_dump(path: Path, agent: DQN, batch: Batch | None, message: str) -> None:
    """Keep the batch and the whole agent, for ``torch.load(path, weights_only=True)``.

    Raises:
        OSError: it cannot be written.
    """
    content = {
        "message": message,
        "batch": None if batch is None else dict(batch._asdict()),
        "agent": agent.state_dict(),
        "gradients": {
            name: parameter.grad
            for name, parameter in agent.network.named_parameters()
            if parameter.grad is not None
        },
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getbuffer())


def _networks(agent: DQN) -> tuple[tuple[str, nn.Module], ...]:
    return ("network", agent.network), ("target network", agent.target_network)


def _first_nonfinite_layer(network: nn.Module, states: Tensor) -> str | None:
    found: list[str] = []

    def look(name: str, output: object) -> None:
        if isinstance(output, Tensor) and not found and not output.isfinite().all():
            found.append(name)

    # A layer's hook is called before that of the module it is a part of. Where the parts are
    # computed together (dqn.networks.native), the whole is named.
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: look(name, output))
        for name, module in network.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            network(states)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def _few(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"{shown} and {len(numbers) - 5} more" if len(numbers) > 5 else shown
