"""The update rules of RMSprop and Adagrad: read this file first.

Everything here is a function of tensors. Parameters and their state are updated in place, nothing
else is remembered; the classes in :mod:`rmsprop.optimizer` and :mod:`rmsprop.adagrad` keep the
state and choose the path. The for-loop path calls these functions, the effective learning rates of
:mod:`rmsprop.effective_lr` divide by the very denominators computed here, and the foreach and
fused paths are tested against them.

The names are those of ``torch.optim``: ``square_avg`` is the moving average of squared gradients,
``grad_avg`` that of gradients, ``alpha`` the decay of both, ``momentum_buffer`` the running sum of
updates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Scalar = float | Tensor
"""A number, or a tensor of one element (so that a captured graph or autograd can see it)."""


@dataclass(frozen=True, slots=True)
class RMSpropHyperparameters:
    """The constants of one RMSprop step; :class:`rmsprop.RMSprop` explains each."""

    lr: Scalar
    alpha: float
    eps: float
    weight_decay: float = 0.0
    momentum: float = 0.0
    eps_inside_sqrt: bool = False
    lr_in_momentum: bool = False
    nesterov: bool = False
    bias_correction: bool = False
    decoupled_weight_decay: bool = False
    maximize: bool = False


@dataclass(frozen=True, slots=True)
class AdagradHyperparameters:
    """The constants of one Adagrad step; :class:`rmsprop.Adagrad` explains each."""

    lr: Scalar
    eps: float
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    eps_inside_sqrt: bool = False
    maximize: bool = False


def rmsprop_step(
    param: Tensor,
    grad: Tensor,
    square_avg: Tensor,
    grad_avg: Tensor | None,
    momentum_buffer: Tensor | None,
    step: Tensor,
    hyper: RMSpropHyperparameters,
) -> None:
    r"""Update one real-valued parameter and its state in place.

    With g the gradient (−g if ``maximize``), η ``lr``, λ ``weight_decay`` and μ ``momentum``::

        step       ← step + 1
        θ          ← (1 − η λ) θ                       if decoupled_weight_decay
        g          ← g + λ θ                           otherwise
        square_avg ← α square_avg + (1 − α) g²
        grad_avg   ← α grad_avg   + (1 − α) g          if centered
        d          ← denominator(square_avg, grad_avg)

        θ ← θ − η g / d                                without momentum
        b ← μ b + g / d,    θ ← θ − η b                with momentum
        b ← μ b + η g / d,  θ ← θ − b                  with lr_in_momentum

    With ``nesterov`` the last line of a momentum step uses ``g / d + μ b`` (or ``η g / d + μ b``)
    in place of ``b``.

    Elements never touch one another, so what a gradient that is not finite does, it does to its own
    element, for good: NaN or ±∞ makes θ NaN; and where g² overflows (|g| > 1.8e19 in float32),
    ``square_avg`` is ∞ from then on, and gradients no longer move θ.

    Args:
        param: θ, any shape, real floating-point dtype.
        grad: the gradient of the loss, shape and dtype of ``param``; never written to.
        square_avg: average of squared gradients, shape of ``param``.
        grad_avg: average of gradients, or None for the plain rule. Given, the rule is centred.
        momentum_buffer: b, or None when μ = 0.
        step: 0-d tensor counting the steps taken; incremented first.
        hyper: the constants.

    Sources: Tieleman and Hinton 2012, lecture 6e (plain rule); Graves 2013, arXiv:1308.0850,
    eq. 38-45 (centred rule); ``torch/optim/rmsprop.py`` (order of operations, so that default
    settings repeat PyTorch's for-loop bit for bit).

    >>> param, square_avg = torch.tensor([1.0]), torch.tensor([0.0])
    >>> hyper = RMSpropHyperparameters(lr=0.01, alpha=0.9, eps=0.0)
    >>> rmsprop_step(param, torch.tensor([10.0]), square_avg, None, None, torch.tensor(0.0), hyper)
    >>> square_avg.item(), round(param.item(), 6)  # 0.1 * 10**2, 1 - 0.01 * 10 / sqrt(10)
    (10.0, 0.968377)
    """
    lr, alpha, momentum = hyper.lr, hyper.alpha, hyper.momentum
    step += 1
    if hyper.maximize:
        grad = -grad
    if hyper.weight_decay != 0:
        if hyper.decoupled_weight_decay:
            param.mul_(1 - lr * hyper.weight_decay)
        else:
            grad = grad.add(param, alpha=hyper.weight_decay)

    square_avg.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
    if grad_avg is not None:
        grad_avg.lerp_(grad, 1 - alpha)
    correction = bias_correction_at(step, alpha) if hyper.bias_correction else None
    denominator = rmsprop_denominator(
        square_avg,
        grad_avg,
        eps=hyper.eps,
        eps_inside_sqrt=hyper.eps_inside_sqrt,
        bias_correction=correction,
    )

    if momentum_buffer is None:
        _add_scaled_quotient_(param, grad, denominator, scale=-lr)
        return
    buffer_lr, param_lr = (lr, 1.0) if hyper.lr_in_momentum else (1.0, lr)
    momentum_buffer.mul_(momentum)
    _add_scaled_quotient_(momentum_buffer, grad, denominator, scale=buffer_lr)
    if hyper.nesterov:
        _add_scaled_quotient_(param, grad, denominator, scale=-lr)
        _add_scaled_(param, momentum_buffer, scale=-param_lr * momentum)
    else:
        _add_scaled_(param, momentum_buffer, scale=-param_lr)


def rmsprop_denominator(
    square_avg: Tensor,
    grad_avg: Tensor | None = None,
    *,
    eps: float,
    eps_inside_sqrt: bool = False,
    bias_correction: Scalar | None = None,
) -> Tensor:
    r"""What RMSprop divides the gradient by; ``lr`` over it is the effective learning rate.

    With q = ``square_avg``, or max(``square_avg`` − ``grad_avg``², 0) when ``grad_avg`` is given,
    divided by ``bias_correction`` when that is given::

        √q + ε          by default
        √(q + ε)        with eps_inside_sqrt

    The variance ``square_avg − grad_avg²`` cannot be negative in exact arithmetic
    (Cauchy-Schwarz), but it rounds below zero when gradients are steady, and its root is then NaN.
    Hence the clamp, which every implementation we read lacks: PyTorch, TensorFlow, Keras, optax,
    timm. A NaN that comes from the gradients themselves passes through.

    Args:
        square_avg: average of squared gradients, any shape, real floating-point dtype.
        grad_avg: average of gradients, same shape and dtype; None for the plain rule.
        eps: ε ≥ 0.
        eps_inside_sqrt: where ε stands, see above.
        bias_correction: see :func:`bias_correction_at`; a number or a 0-d tensor.

    Returns:
        A new tensor of the shape and dtype of ``square_avg``.

    >>> steady = torch.tensor([4.0])
    >>> rmsprop_denominator(steady, eps=1.0)
    tensor([3.])
    >>> rmsprop_denominator(steady, torch.tensor([2.0]), eps=1e-2, eps_inside_sqrt=True)
    tensor([0.1000])
    """
    variance = square_avg
    if grad_avg is not None:
        variance = square_avg.addcmul(grad_avg, grad_avg, value=-1).clamp_min_(0)
    if bias_correction is not None:
        variance = variance / bias_correction
    # Temporaries are reused: a new one of a layer's size costs as much as the arithmetic.
    if eps_inside_sqrt:
        return variance.add(eps).sqrt_()
    root = variance.sqrt() if variance is square_avg else variance.sqrt_()
    return root.add(eps) if root.requires_grad else root.add_(eps)  # Autograd needs the root.


def bias_correction_at(step: Tensor, alpha: float) -> Scalar:
    """1 − α^step: the weight that an average started at zero has collected after ``step`` steps.

    A number when ``step`` can be read without waiting for a device, else a 0-d float64 tensor:
    in float32, 1 − 0.99 would already be wrong in the sixth digit.

    >>> round(bias_correction_at(torch.tensor(2.0), 0.9), 12)
    0.19
    """
    if step.is_cpu and not torch.compiler.is_compiling():
        return 1.0 - alpha ** step.item()
    return 1.0 - torch.pow(alpha, step.double())


def adagrad_step(
    param: Tensor, grad: Tensor, sum_: Tensor, step: Tensor, hyper: AdagradHyperparameters
) -> None:
    r"""Update one real-valued parameter and its state in place.

    With g the gradient (−g if ``maximize``), η ``lr`` and λ ``weight_decay``::

        step ← step + 1
        g    ← g + λ θ
        sum  ← sum + g²
        θ    ← θ − η / (1 + (step − 1) lr_decay) · g / (√sum + ε)      or √(sum + ε)

    Sources: Duchi, Hazan and Singer 2011 (diagonal form); ``torch/optim/adagrad.py``.

    >>> param, total = torch.tensor([1.0]), torch.tensor([0.0])
    >>> hyper = AdagradHyperparameters(lr=0.5, eps=0.0)
    >>> for gradient in (3.0, 4.0):
    ...     adagrad_step(param, torch.tensor([gradient]), total, torch.tensor(0.0), hyper)
    >>> total.item(), round(param.item(), 6)  # 3² + 4², 1 - 0.5 * 3/3 - 0.5 * 4/5
    (25.0, 0.1)
    """
    step += 1
    if hyper.maximize:
        grad = -grad
    if hyper.weight_decay != 0:
        grad = grad.add(param, alpha=hyper.weight_decay)
    sum_.addcmul_(grad, grad, value=1)
    denominator = adagrad_denominator(sum_, eps=hyper.eps, eps_inside_sqrt=hyper.eps_inside_sqrt)
    lr = decayed_learning_rate(hyper.lr, hyper.lr_decay, step)
    _add_scaled_quotient_(param, grad, denominator, scale=-lr)


def adagrad_denominator(sum_: Tensor, *, eps: float, eps_inside_sqrt: bool = False) -> Tensor:
    """√sum + ε, or √(sum + ε): what Adagrad divides the gradient by.

    >>> adagrad_denominator(torch.tensor([25.0]), eps=0.5)
    tensor([5.5000])
    """
    return rmsprop_denominator(sum_, eps=eps, eps_inside_sqrt=eps_inside_sqrt)


def decayed_learning_rate(lr: Scalar, lr_decay: float, step: Tensor) -> Scalar:
    """η / (1 + (step − 1) lr_decay): Adagrad's own schedule, at the step being taken.

    >>> decayed_learning_rate(1.0, 0.5, torch.tensor(3.0))
    0.5
    """
    if lr_decay == 0:
        return lr
    if step.is_cpu and not torch.compiler.is_compiling():
        return lr / (1 + (step.item() - 1) * lr_decay)
    return lr / (1 + (step - 1) * lr_decay)


def _add_scaled_quotient_(
    target: Tensor, numerator: Tensor, denominator: Tensor, *, scale: Scalar
) -> None:
    """target ← target + scale · numerator / denominator.

    ``addcdiv_`` would read a tensor ``scale`` back to the host, which a graph capture forbids and
    autograd cannot follow. It computes (scale · numerator) / denominator, so scaling the numerator
    first gives the same bits.
    """
    if isinstance(scale, Tensor):
        target.addcdiv_(numerator * scale, denominator)
    else:
        target.addcdiv_(numerator, denominator, value=scale)


def _add_scaled_(target: Tensor, term: Tensor, *, scale: Scalar) -> None:
    """target ← target + scale · term, without reading a tensor ``scale`` back to the host."""
    if isinstance(scale, Tensor):
        target.add_(term * scale)
    else:
        target.add_(term, alpha=scale)
