"""The rules of :mod:`rmsprop.rule` for many parameters at once, in ``torch._foreach_*`` operations.

The same operations in the same order; a whole list of parameters of one device and dtype takes
each together, which on a GPU means one kernel where the for-loop launches one per parameter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rmsprop.batch import ParameterBatch
from rmsprop.rule import (
    AdagradHyperparameters,
    RMSpropHyperparameters,
    Scalar,
    bias_correction_at,
    decayed_learning_rate,
)

TensorList = list[Tensor]


def rmsprop_foreach(batch: ParameterBatch, hyper: RMSpropHyperparameters) -> None:
    """:func:`rmsprop.rule.rmsprop_step` for a batch of one device and dtype."""
    params, grads, steps = batch.params, batch.grads, batch.steps
    square_avgs, grad_avgs = batch.states["square_avg"], batch.states.get("grad_avg")
    momentum_buffers = batch.states.get("momentum_buffer")
    lr, alpha, momentum = hyper.lr, hyper.alpha, hyper.momentum
    count_step(steps)
    if hyper.maximize:
        grads = list(torch._foreach_neg(grads))
    if hyper.weight_decay != 0:
        if hyper.decoupled_weight_decay:
            torch._foreach_mul_(params, 1 - lr * hyper.weight_decay)
        else:
            grads = list(torch._foreach_add(grads, params, alpha=hyper.weight_decay))

    torch._foreach_mul_(square_avgs, alpha)
    torch._foreach_addcmul_(square_avgs, grads, grads, value=1 - alpha)
    if grad_avgs is not None:
        torch._foreach_lerp_(grad_avgs, grads, 1 - alpha)
    corrections = [bias_correction_at(s, alpha) for s in steps] if hyper.bias_correction else None
    denominators = _denominators(
        square_avgs, grad_avgs, hyper.eps, hyper.eps_inside_sqrt, corrections
    )

    if momentum_buffers is None:
        _add_scaled_quotients_(params, grads, denominators, scale=-lr)
        return
    buffer_lr, param_lr = (lr, 1.0) if hyper.lr_in_momentum else (1.0, lr)
    torch._foreach_mul_(momentum_buffers, momentum)
    _add_scaled_quotients_(momentum_buffers, grads, denominators, scale=buffer_lr)
    if hyper.nesterov:
        _add_scaled_quotients_(params, grads, denominators, scale=-lr)
        _add_scaled_(params, momentum_buffers, scale=-param_lr * momentum)
    else:
        _add_scaled_(params, momentum_buffers, scale=-param_lr)


def adagrad_foreach(batch: ParameterBatch, hyper: AdagradHyperparameters) -> None:
    """:func:`rmsprop.rule.adagrad_step` for a batch of one device and dtype."""
    params, grads, steps = batch.params, batch.grads, batch.steps
    sums = batch.states["sum"]
    count_step(steps)
    if hyper.maximize:
        grads = list(torch._foreach_neg(grads))
    if hyper.weight_decay != 0:
        grads = list(torch._foreach_add(grads, params, alpha=hyper.weight_decay))
    torch._foreach_addcmul_(sums, grads, grads, value=1)
    denominators = _denominators(sums, None, hyper.eps, hyper.eps_inside_sqrt)
    if hyper.lr_decay == 0:
        _add_scaled_quotients_(params, grads, denominators, scale=-hyper.lr)
    else:
        rates = [decayed_learning_rate(hyper.lr, hyper.lr_decay, step) for step in steps]
        scaled = [grad * -rate for grad, rate in zip(grads, rates, strict=True)]
        torch._foreach_addcdiv_(params, scaled, denominators)


def count_step(steps: TensorList) -> None:
    """Add 1 to every step."""
    if steps[0].is_cpu and not torch.compiler.is_compiling():
        # On the CPU foreach is a loop that would wrap the number 1 into a new tensor every time.
        torch._foreach_add_(steps, torch.tensor(1.0), alpha=1.0)
    else:
        torch._foreach_add_(steps, 1)


def _denominators(
    square_avgs: TensorList,
    grad_avgs: TensorList | None,
    eps: float,
    eps_inside_sqrt: bool,
    corrections: Sequence[Scalar] | None = None,
) -> TensorList:
    variances = square_avgs
    if grad_avgs is not None:
        variances = list(torch._foreach_addcmul(square_avgs, grad_avgs, grad_avgs, value=-1))
        torch._foreach_clamp_min_(variances, 0)
    if corrections is not None:
        # Each has a correction of its own: parameters may have taken different numbers of steps.
        variances = [q / correction for q, correction in zip(variances, corrections, strict=True)]
    if variances is not square_avgs:
        # The variances are temporaries: writing to them saves memory of the parameters' size.
        if eps_inside_sqrt:
            torch._foreach_add_(variances, eps)
        torch._foreach_sqrt_(variances)
        denominators = variances
    elif eps_inside_sqrt:
        denominators = list(torch._foreach_add(square_avgs, eps))
        torch._foreach_sqrt_(denominators)
    else:
        denominators = list(torch._foreach_sqrt(square_avgs))
    if not eps_inside_sqrt:
        torch._foreach_add_(denominators, eps)
    return denominators


def _add_scaled_quotients_(
    targets: TensorList, numerators: TensorList, denominators: TensorList, *, scale: Scalar
) -> None:
    if isinstance(scale, Tensor):
        numerators = list(torch._foreach_mul(numerators, scale))
        torch._foreach_addcdiv_(targets, numerators, denominators)
    else:
        torch._foreach_addcdiv_(targets, numerators, denominators, value=scale)


def _add_scaled_(targets: TensorList, terms: TensorList, *, scale: Scalar) -> None:
    if isinstance(scale, Tensor):
        torch._foreach_add_(targets, torch._foreach_mul(terms, scale))
    else:
        torch._foreach_add_(targets, terms, alpha=scale)
