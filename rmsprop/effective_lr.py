"""Effective learning rates: what an adaptive optimizer really multiplies each gradient by.

Reads the state of an optimizer, never writes it. The definition, elementwise:

=============== ==================================== ==========================================
optimizer       effective learning rate              multiplies
=============== ==================================== ==========================================
RMSprop         η / (√q + ε)  or  η / √(q + ε)       the gradient
Adagrad         η_t / (√sum + ε)  or  η_t / √(sum + ε) the gradient
Adam, AdamW     η / (√v̂ + ε)                         the bias-corrected first moment m̂
SGD             η                                    the gradient
=============== ==================================== ==========================================

q is ``square_avg``, max(``square_avg`` − ``grad_avg``², 0) when centred, bias-corrected where the
optimizer does so; η_t is Adagrad's decayed learning rate; v̂ is the corrected second moment, or its
running maximum with ``amsgrad``. Rates are those of the last step taken, with the learning rate the
group holds now. Heavy-ball momentum is left out: with a steady gradient it multiplies the step by
1 / (1 − μ) in the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer
from torch.optim import Adagrad as TorchAdagrad
from torch.optim import RMSprop as TorchRMSprop

from rmsprop.adagrad import Adagrad
from rmsprop.base import Group
from rmsprop.optimizer import RMSprop
from rmsprop.rule import (
    Scalar,
    bias_correction_at,
    decayed_learning_rate,
    rmsprop_denominator,
)


@dataclass(frozen=True, slots=True)
class Rate:
    """What the effective rate of one parameter is computed from."""

    lr: float
    square: Tensor
    mean: Tensor | None = None
    eps: float = 0.0
    eps_inside_sqrt: bool = False
    bias_correction: Scalar | None = None
    window_steps: float = 0.0

    def denominator(self) -> Tensor:
        return rmsprop_denominator(
            self.square,
            self.mean,
            eps=self.eps,
            eps_inside_sqrt=self.eps_inside_sqrt,
            bias_correction=self.bias_correction,
        )

    def eps_bound_below(self) -> float:
        """Where the denominator is smaller than this, ε outweighs the root."""
        # √q < ε is √q + ε < 2 ε, and q < ε is √(q + ε) < √(2 ε).
        return math.sqrt(2 * self.eps) if self.eps_inside_sqrt else 2 * self.eps

    def pieces(self, size: int) -> Iterator[Rate]:
        """The rate of ``size`` elements at a time, in any order."""
        square = self.square.flatten()
        mean = None if self.mean is None else self.mean.flatten()
        for begin in range(0, square.numel(), size):
            part = slice(begin, begin + size)
            yield replace(self, square=square[part], mean=None if mean is None else mean[part])


def effective_learning_rates(optimizer: Optimizer) -> dict[str, Tensor]:
    """The effective learning rate of every element of every parameter.

    Args:
        optimizer: :class:`rmsprop.RMSprop` or :class:`rmsprop.Adagrad`, or RMSprop, Adagrad, Adam,
            AdamW or SGD of torch.optim.

    Returns:
        Parameter name -> new tensor with the parameter's shape, device and dtype. Names are those
        given to the optimizer with ``named_parameters()``, else ``"group.index"``: ``"0.2"`` is the
        third parameter of the first group. A parameter without state (none of its gradients has
        been used yet) has no rate and is left out; SGD's rate needs no state. A complex parameter's
        rate is complex: the rate of the real part and, as imaginary part, that of the imaginary.

    Raises:
        TypeError: for another optimizer.

    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> optimizer = RMSprop(model.named_parameters(), lr=0.01, alpha=0.9, eps=0.0)
    >>> model.weight.grad = torch.tensor([[10.0, 0.1]])
    >>> optimizer.step()  # square_avg = 0.1 g², so the rate is 0.01 / (sqrt(0.1) |g|)
    >>> effective_learning_rates(optimizer)["weight"]
    tensor([[0.0032, 0.3162]])
    """
    rates = {}
    with torch.no_grad():
        for name, param, rate in parameter_rates(optimizer):
            elementwise = rate.lr / rate.denominator()
            rates[name] = torch.view_as_complex(elementwise) if param.is_complex() else elementwise
    return rates


def update_ratios(
    before: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
    after: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
) -> dict[str, float]:
    """‖Δθ‖ / ‖θ‖ of every parameter: how far a step moved it, relative to its size before.

    Args:
        before: name -> value before the step; a copy, since optimizers write in place.
        after: the same names after it (``model.named_parameters()`` will do).

    Returns:
        Name -> ratio; 0 where nothing moved, infinity where a zero parameter did.

    Raises:
        ValueError: if the names differ.

    >>> update_ratios({"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([3.0, 4.5])})
    {'w': 0.1}
    """
    before, after = dict(before), dict(after)
    if before.keys() != after.keys():
        raise ValueError(
            f"names differ before and after the step: {sorted(before.keys() ^ after.keys())}"
        )
    ratios = {}
    with torch.no_grad():
        for name, old in before.items():
            moved = torch.linalg.vector_norm(after[name] - old).item()
            size = torch.linalg.vector_norm(old).item()
            ratios[name] = moved / size if size > 0 else math.inf if moved > 0 else 0.0
    return ratios


def parameter_names(optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Yield name and parameter, named as in :func:`effective_learning_rates`.

    >>> optimizer = SGD([torch.zeros(1), torch.zeros(2)])
    >>> [(name, len(param)) for name, param in parameter_names(optimizer)]
    [('0.0', 1), ('0.1', 2)]
    """
    for _, name, param in _groups_and_names(optimizer):
        yield name, param


def _groups_and_names(optimizer: Optimizer) -> Iterator[tuple[Group, str, Tensor]]:
    for group_index, group in enumerate(optimizer.param_groups):
        names = group.get("param_names")
        for index, param in enumerate(group["params"]):
            yield group, names[index] if names else f"{group_index}.{index}", param


def parameter_rates(optimizer: Optimizer) -> Iterator[tuple[str, Tensor, Rate]]:
    """Yield name, parameter and rate (of the real view, if complex) where there is a rate."""
    for group, name, param in _groups_and_names(optimizer):
        state = {
            key: torch.view_as_real(value) if value.is_complex() else value
            for key, value in optimizer.state.get(param, {}).items()
            if isinstance(value, Tensor)
        }
        rate = _rate(optimizer, group, param, state)
        if rate is not None:
            yield name, param, rate


def _rate(
    optimizer: Optimizer, group: Group, param: Tensor, state: Mapping[str, Tensor]
) -> Rate | None:
    lr = float(group["lr"])
    if isinstance(optimizer, SGD):
        real = torch.view_as_real(param) if param.is_complex() else param
        return Rate(lr, real.new_ones(()).expand(real.shape))
    if not isinstance(optimizer, RMSprop | TorchRMSprop | Adagrad | TorchAdagrad | Adam):
        raise TypeError(
            "effective learning rates are defined for RMSprop, Adagrad, Adam, AdamW and SGD, "
            f"got {type(optimizer).__name__}"
        )
    # A state need not mean a step taken: torch.optim.Adagrad makes its own at construction.
    if "step" not in state or state["step"] == 0:
        return None
    eps, eps_inside_sqrt = group["eps"], group.get("eps_inside_sqrt", False)
    correction: Scalar | None = None
    mean = None
    if isinstance(optimizer, Adam):
        square = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        decay = group["betas"][1]
        correction = bias_correction_at(state["step"], decay)
    elif isinstance(optimizer, Adagrad | TorchAdagrad):
        square, decay = state["sum"], 1.0
        lr = float(decayed_learning_rate(lr, group["lr_decay"], state["step"]))
    else:
        square, decay = state["square_avg"], group["alpha"]
        mean = state.get("grad_avg") if group["centered"] else None
        if group.get("bias_correction", False):
            correction = bias_correction_at(state["step"], decay)
    window_steps = 1 / (1 - decay) if decay < 1 else math.inf
    return Rate(lr, square, mean, eps, eps_inside_sqrt, correction, window_steps)
