"""The class RMSprop: its settings, their validation, and the state it needs.

The mathematics is in :mod:`rmsprop.rule`; groups and the choice of path are in :mod:`rmsprop.base`.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from rmsprop.base import (
    ElementwiseOptimizer,
    Group,
    check_implementation,
    check_learning_rate,
    check_non_negative,
    hyperparameters,
)
from rmsprop.batch import ParameterBatch
from rmsprop.foreach import rmsprop_foreach
from rmsprop.fused import rmsprop_fused
from rmsprop.rule import RMSpropHyperparameters, rmsprop_step


class RMSprop(ElementwiseOptimizer):
    r"""RMSprop in every dialect in use; with default flags, ``torch.optim.RMSprop``.

    Each element of a parameter has an effective learning rate of its own, ``lr`` over the root of
    a moving average of its squared gradients::

        square_avg ← α square_avg + (1 − α) g²
        θ          ← θ − lr / (√square_avg + ε) · g

    α sets the memory, about 1 / (1 − α) steps. :func:`rmsprop.rule.rmsprop_step` gives the whole
    rule in order of execution, :data:`rmsprop.dialects` the settings that reproduce other
    libraries.

    Args:
        params: tensors, ``named_parameters()``, or groups (dicts) of either, as in torch.optim.
        lr: learning rate; a number or a tensor of one element.
        alpha: decay of the averages, in [0, 1]. 1 keeps them as they start.
        eps: ε, added to the root (or inside it, see ``eps_inside_sqrt``).
        weight_decay: λ. Coupled (L2): g ← g + λ θ.
        momentum: μ of the heavy-ball buffer; 0 means no buffer.
        centered: divide by the standard deviation of the gradient, √(square_avg − grad_avg²),
            instead of its root mean square (Graves 2013). Unlike PyTorch's, the variance is never
            negative: it is clamped at 0 where it rounds below.
        eps_inside_sqrt: √(q + ε) in place of √q + ε (TensorFlow, Keras 3, optax, Graves,
            DeepMind). To match one with the other roughly, ε_outside = √ε_inside.
        initial_square_avg: first value of ``square_avg``. TensorFlow 1 starts at 1, which acts as
            a warm-up: its weight α^t falls under 1e-5 only after 225 steps at α = 0.95.
        lr_in_momentum: the buffer accumulates lr · g / d, not g / d (TensorFlow, Keras, optax,
            Graves). Differs only when the learning rate changes.
        nesterov: step along g / d + μ b in place of b. Needs ``momentum`` > 0.
        bias_correction: divide ``square_avg`` by 1 − α^t, its weight so far, as Adam does. Needs
            ``initial_square_avg`` = 0, and not ``centered``: at t = 1 the corrected variance is
            exactly g² − g² = 0, and the step g / ε.
        decoupled_weight_decay: θ ← (1 − lr λ) θ before the step, g untouched (AdamW, Keras 3).
        capturable: keep ``step`` on the parameter's device so that a CUDA graph can capture
            ``step()``.
        foreach: step all parameters of a group together with ``torch._foreach_*``; the default on
            CUDA, as in torch.optim.
        fused: one pass over memory per step; see :mod:`rmsprop.fused`. True demands it, None takes
            it on the CPU where it can be had, which the first time takes a C++ compiler some
            seconds. ``fused=False, foreach=False`` is the for-loop, torch.optim's bit for bit.
        maximize: ascend instead of descend.
        differentiable: let autograd record the step.

    State (``state[param]``): ``step`` (0-d float32), ``square_avg``, ``momentum_buffer`` when
    μ > 0, ``grad_avg`` when centred; keys, shapes and dtypes of torch.optim, with which
    ``state_dict``\ s interchange. So the state of a bfloat16 parameter is bfloat16 too, where an
    average with α near 1 stops moving; keep such parameters in float32 and compute under autocast.
    A buffer missing because ``momentum`` or ``centered`` was switched on later starts at 0.

    Gradients that are not finite are not looked for: see :func:`rmsprop.rule.rmsprop_step` for what
    they do to their elements, and ``torch.amp.GradScaler`` or ``clip_grad_norm_(...,
    error_if_nonfinite=True)`` for guards.

    Raises:
        ValueError: a hyperparameter out of range, or settings that exclude each other.
        RuntimeError: sparse gradients; contradictory choice of implementation.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> optimizer = RMSprop([theta], lr=0.01, alpha=0.9, eps=1e-8)
    >>> (theta * torch.tensor([10.0, 0.01])).sum().backward()  # gradients of 10 and of 0.01 ...
    >>> optimizer.step()
    >>> theta.data  # ... move their parameters equally far
    tensor([0.9684, 0.9684])
    """

    _FLAGS_TORCH_LACKS: ClassVar[dict[str, object]] = {
        "eps_inside_sqrt": False,
        "initial_square_avg": 0.0,
        "lr_in_momentum": False,
        "nesterov": False,
        "bias_correction": False,
        "decoupled_weight_decay": False,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        eps_inside_sqrt: bool = False,
        initial_square_avg: float = 0.0,
        lr_in_momentum: bool = False,
        nesterov: bool = False,
        bias_correction: bool = False,
        decoupled_weight_decay: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "eps_inside_sqrt": eps_inside_sqrt,
            "initial_square_avg": initial_square_avg,
            "lr_in_momentum": lr_in_momentum,
            "nesterov": nesterov,
            "bias_correction": bias_correction,
            "decoupled_weight_decay": decoupled_weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "fused": fused,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _check_group(self, group: Group) -> None:
        check_learning_rate(group)
        check_non_negative(group, "eps", "epsilon value")
        for key in ("momentum", "weight_decay", "initial_square_avg"):
            check_non_negative(group, key)
        if not 0.0 <= group["alpha"] <= 1.0:
            raise ValueError(f"Invalid alpha value: {group['alpha']} (alpha must be in [0, 1])")
        if group["nesterov"] and group["momentum"] == 0:
            raise ValueError("nesterov=True needs momentum > 0, got momentum=0")
        if group["bias_correction"] and group["centered"]:
            raise ValueError(
                "bias_correction=True cannot be combined with centered=True: "
                "the corrected variance is exactly 0 at the first step"
            )
        if group["bias_correction"] and group["initial_square_avg"] != 0:
            raise ValueError(
                "bias_correction=True corrects an average that starts at 0, "
                f"got initial_square_avg={group['initial_square_avg']}"
            )
        if group["bias_correction"] and group["alpha"] == 1:
            raise ValueError("bias_correction=True needs alpha < 1: it divides by 1 - alpha^t")
        check_implementation(group)

    def _initial_state(self, group: Group) -> dict[str, float]:
        initial_state = {"square_avg": group["initial_square_avg"]}
        if group["momentum"] > 0:
            initial_state["momentum_buffer"] = 0.0
        if group["centered"]:
            initial_state["grad_avg"] = 0.0
        return initial_state

    def _for_loop(self, batch: ParameterBatch, group: Group) -> None:
        hyper = hyperparameters(RMSpropHyperparameters, group)
        absent: list[Tensor | None] = [None] * len(batch.params)
        for param, grad, square_avg, grad_avg, momentum_buffer, step in zip(
            batch.params,
            batch.grads,
            batch.states["square_avg"],
            batch.states.get("grad_avg", absent),
            batch.states.get("momentum_buffer", absent),
            batch.steps,
            strict=True,
        ):
            rmsprop_step(param, grad, square_avg, grad_avg, momentum_buffer, step, hyper)

    def _foreach(self, batch: ParameterBatch, group: Group) -> None:
        rmsprop_foreach(batch, hyperparameters(RMSpropHyperparameters, group))

    def _fused(self, batch: ParameterBatch, group: Group, grad_scale: float) -> None:
        rmsprop_fused(batch, hyperparameters(RMSpropHyperparameters, group), grad_scale)
