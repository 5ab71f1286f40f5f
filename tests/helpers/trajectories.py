"""Run an optimizer on given gradients, and a naive oracle: RMSprop on Python floats, one by one."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from rmsprop.build import load_library


def can_fuse() -> bool:
    """Whether the fused step can be had on the CPU of this machine."""
    try:
        load_library("float")
    except OSError:
        return False
    return True


def run(
    make_optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
    theta: Sequence[float],
    grads: Iterable[Sequence[float]],
    dtype: torch.dtype = torch.float64,
) -> list[float]:
    """The parameter after one step per gradient."""
    param = torch.tensor(theta, dtype=dtype)
    optimizer = make_optimizer([param])
    for grad in grads:
        param.grad = torch.tensor(grad, dtype=dtype)
        optimizer.step()
    return param.tolist()


def naive_rmsprop(
    theta: Sequence[float],
    grads: Iterable[Sequence[float]],
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    eps_inside_sqrt: bool = False,
    initial_square_avg: float = 0.0,
    lr_in_momentum: bool = False,
    nesterov: bool = False,
    bias_correction: bool = False,
    decoupled_weight_decay: bool = False,
    maximize: bool = False,
) -> list[float]:
    """Written from the papers and the sources named in rmsprop.dialects, not from rmsprop.rule."""
    grads = list(grads)
    result = []
    for index, x in enumerate(theta):
        v, m, b = initial_square_avg, 0.0, 0.0
        for t, row in enumerate(grads, start=1):
            g = -row[index] if maximize else row[index]
            if decoupled_weight_decay:
                x -= lr * weight_decay * x
            else:
                g += weight_decay * x
            v += (1 - alpha) * (g * g - v)
            m += (1 - alpha) * (g - m)
            q = max(v - m * m, 0.0) if centered else v
            if bias_correction:
                q /= 1 - alpha**t
            u = g / math.sqrt(q + eps) if eps_inside_sqrt else g / (math.sqrt(q) + eps)
            if lr_in_momentum:
                b = momentum * b + lr * u
                x -= momentum * b + lr * u if nesterov else b
            else:
                b = momentum * b + u
                x -= lr * (momentum * b + u if nesterov else b)
        result.append(x)
    return result
