"""The class Adagrad, on RMSprop's base class: the sum in place of the moving average."""

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
from rmsprop.foreach import adagrad_foreach
from rmsprop.fused import adagrad_fused
from rmsprop.rule import AdagradHyperparameters, adagrad_step


class Adagrad(ElementwiseOptimizer):
    r"""Adagrad (Duchi, Hazan and Singer 2011); with default flags, ``torch.optim.Adagrad``.

    The sum of squared gradients takes the place of RMSprop's moving average, so the effective
    learning rate of an element can only fall::

        sum ← sum + g²
        θ   ← θ − lr / (1 + (t − 1) lr_decay) / (√sum + ε) · g

    Args:
        params: tensors, ``named_parameters()``, or groups (dicts) of either, as in torch.optim.
        lr: learning rate; a number or a tensor of one element.
        lr_decay: decay of the learning rate with the step t, see above.
        weight_decay: λ. Coupled (L2): g ← g + λ θ.
        initial_accumulator_value: first value of ``sum`` (TensorFlow and optax start at 0.1).
        eps: ε, added to the root.
        eps_inside_sqrt: √(sum + ε) in place of √sum + ε (optax).
        capturable, foreach, fused, maximize, differentiable: as in :class:`rmsprop.RMSprop`.

    State (``state[param]``): ``step`` (0-d float32) and ``sum``, as in torch.optim, with which
    ``state_dict``\ s interchange. It is made at the first gradient, not at construction.

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: sparse gradients; contradictory choice of implementation.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = Adagrad([theta], lr=0.5)
    >>> for gradient in (3.0, 4.0):
    ...     theta.grad = torch.tensor([gradient])
    ...     optimizer.step()
    >>> theta.data  # 1 - 0.5 * 3/3 - 0.5 * 4/5
    tensor([0.1000])
    """

    _FLAGS_TORCH_LACKS: ClassVar[dict[str, object]] = {"eps_inside_sqrt": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        eps_inside_sqrt: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "eps_inside_sqrt": eps_inside_sqrt,
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
        for key in ("lr_decay", "weight_decay", "initial_accumulator_value"):
            check_non_negative(group, key)
        check_implementation(group)

    def _initial_state(self, group: Group) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def _for_loop(self, batch: ParameterBatch, group: Group) -> None:
        hyper = hyperparameters(AdagradHyperparameters, group)
        for param, grad, sum_, step in zip(
            batch.params, batch.grads, batch.states["sum"], batch.steps, strict=True
        ):
            adagrad_step(param, grad, sum_, step, hyper)

    def _foreach(self, batch: ParameterBatch, group: Group) -> None:
        adagrad_foreach(batch, hyperparameters(AdagradHyperparameters, group))

    def _fused(self, batch: ParameterBatch, group: Group, grad_scale: float) -> None:
        adagrad_fused(batch, hyperparameters(AdagradHyperparameters, group), grad_scale)
