"""The fused step: one pass over memory, every tensor read once and written once.

On the CPU it is C++ (``csrc/fused_cpu.cpp``), compiled when first used (:mod:`rmsprop.build`), for
float32, float64, bfloat16 and float16, complex parameters through their real views, and every
setting of RMSprop and Adagrad. Operations and their order are those of :mod:`rmsprop.rule`; half
precisions are computed in float32 and rounded once, where the for-loop rounds every operation.

On CUDA it is :mod:`rmsprop.foreach` compiled by ``torch.compile``, which makes one kernel of the
whole list of parameters; the first step takes as long as Inductor does, some tens of seconds.

``fused=None`` (the default of the optimizers) takes the fused step on the CPU for float32 and
float64 parameters if it can be had, and goes without it otherwise. ``fused=True`` demands it.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import logging
from array import array
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from rmsprop.batch import ParameterBatch
from rmsprop.build import load_library
from rmsprop.foreach import adagrad_foreach, count_step, rmsprop_foreach
from rmsprop.rule import (
    AdagradHyperparameters,
    RMSpropHyperparameters,
    bias_correction_at,
    decayed_learning_rate,
)
from rmsprop.threads import get_num_threads, may_use_openmp

_logger = logging.getLogger("rmsprop")

_CPP_TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "bfloat16",
    torch.float16: "_Float16",
}


class _Constants(ctypes.Structure):
    """Laid out as the structure of the same name in csrc/fused_cpu.cpp."""

    _fields_ = [
        (name, ctypes.c_double)
        for name in (
            "grad_scale",
            "coupled_decay",
            "param_scale",
            "square_avg_decay",
            "square_avg_weight",
            "grad_avg_weight",
            "bias_correction",
            "eps",
            "momentum",
            "lr",
            "buffer_lr",
            "param_lr",
        )
    ]


# Bits of the C++ enum Flags.
_CENTERED, _MOMENTUM, _NESTEROV, _EPS_INSIDE_SQRT, _COUPLED_DECAY, _BIAS_CORRECTION = (
    1 << bit for bit in range(6)
)


def why_not(batch: ParameterBatch) -> str | None:
    """Why a batch of one device and dtype cannot take the fused step; None if it can.

    Its states may still be missing.
    """
    device, dtype = batch.params[0].device, batch.params[0].dtype
    if device.type not in ("cpu", "cuda"):
        return f"it runs on cpu and cuda, not on {device.type}"
    if dtype not in _CPP_TYPES:
        return f"it takes floating-point parameters, not {dtype}"
    for param, *mates in zip(batch.params, batch.grads, *batch.states.values(), strict=True):
        # Subclasses (DTensor, FakeTensor, ...) do not own plain memory.
        if type(param) not in (Tensor, torch.nn.Parameter):
            return f"it takes plain tensors, not {type(param).__name__}"
        if param.is_inference():
            return "inference tensors cannot let autograd know of a write"
        for mate in mates:
            # The C++ code sees addresses only: anything else here would be read as garbage.
            if type(mate) is not Tensor or mate.shape != param.shape or mate.is_inference():
                return f"a gradient or state is no plain tensor of shape {tuple(param.shape)}"
            if mate.dtype != dtype or mate.device != device:
                return (
                    f"a parameter is {dtype} on {device}, "
                    f"its gradient or state {mate.dtype} on {mate.device}"
                )
    if device.type == "cpu":
        try:
            _cpu_function(dtype)
        except OSError as error:
            return str(error)
    return None


def is_default_for(batch: ParameterBatch) -> bool:
    """Whether ``fused=None`` takes the fused step: on the CPU, where it repeats the for-loop.

    Says once, in the log, why it cannot.
    """
    if not batch.params[0].is_cpu or batch.params[0].dtype not in (torch.float32, torch.float64):
        return False
    reason = why_not(batch)
    if reason is not None:
        _say_once(reason)
    return reason is None


@functools.cache
def _say_once(reason: str) -> None:
    _logger.warning("no fused step: %s; using the for-loop (fused=False silences this)", reason)


def rmsprop_fused(
    batch: ParameterBatch, hyper: RMSpropHyperparameters, grad_scale: float = 1.0
) -> None:
    """:func:`rmsprop.rule.rmsprop_step` for a batch of one device and dtype.

    Args:
        grad_scale: gradients are multiplied by it first (to undo an AMP loss scale).
    """
    if not batch.params[0].is_cpu:
        hyper = dataclasses.replace(hyper, lr=_as_tensor(hyper.lr, batch.params[0].device))
        _compiled(rmsprop_foreach)(batch.with_scaled_grads(grad_scale), hyper)
        return
    count_step(batch.steps)
    constants = _rmsprop_constants(hyper, grad_scale)
    flags = (
        _CENTERED * ("grad_avg" in batch.states)
        | _MOMENTUM * ("momentum_buffer" in batch.states)
        | _NESTEROV * hyper.nesterov
        | _EPS_INSIDE_SQRT * hyper.eps_inside_sqrt
        | _COUPLED_DECAY * (constants.coupled_decay != 0)
        | _BIAS_CORRECTION * hyper.bias_correction
    )
    if not hyper.bias_correction:
        _step_on_cpu(batch, "square_avg", flags, constants)
        return
    for part in batch.by_step():
        constants.bias_correction = bias_correction_at(part.steps[0], hyper.alpha)
        _step_on_cpu(part, "square_avg", flags, constants)


def _rmsprop_constants(hyper: RMSpropHyperparameters, grad_scale: float) -> _Constants:
    lr, weight_decay = float(hyper.lr), hyper.weight_decay
    decoupled = hyper.decoupled_weight_decay
    return _Constants(
        grad_scale=-grad_scale if hyper.maximize else grad_scale,
        coupled_decay=0.0 if decoupled else weight_decay,
        param_scale=1 - lr * weight_decay if decoupled else 1.0,
        square_avg_decay=hyper.alpha,
        square_avg_weight=1 - hyper.alpha,
        grad_avg_weight=1 - hyper.alpha,
        bias_correction=1.0,
        eps=hyper.eps,
        momentum=hyper.momentum,
        lr=lr,
        buffer_lr=lr if hyper.lr_in_momentum else 1.0,
        param_lr=1.0 if hyper.lr_in_momentum else lr,
    )


def adagrad_fused(
    batch: ParameterBatch, hyper: AdagradHyperparameters, grad_scale: float = 1.0
) -> None:
    """:func:`rmsprop.rule.adagrad_step` for a batch of one device and dtype.

    Args:
        grad_scale: gradients are multiplied by it first (to undo an AMP loss scale).
    """
    if not batch.params[0].is_cpu:
        hyper = dataclasses.replace(hyper, lr=_as_tensor(hyper.lr, batch.params[0].device))
        _compiled(adagrad_foreach)(batch.with_scaled_grads(grad_scale), hyper)
        return
    count_step(batch.steps)
    # Adagrad is RMSprop whose average neither decays nor discounts the new square.
    constants = _Constants(
        grad_scale=-grad_scale if hyper.maximize else grad_scale,
        coupled_decay=hyper.weight_decay,
        param_scale=1.0,
        square_avg_decay=1.0,
        square_avg_weight=1.0,
        bias_correction=1.0,
        eps=hyper.eps,
        lr=float(hyper.lr),
    )
    flags = _EPS_INSIDE_SQRT * hyper.eps_inside_sqrt | _COUPLED_DECAY * (hyper.weight_decay != 0)
    if hyper.lr_decay == 0:
        _step_on_cpu(batch, "sum", flags, constants)
        return
    for part in batch.by_step():
        constants.lr = float(decayed_learning_rate(hyper.lr, hyper.lr_decay, part.steps[0]))
        _step_on_cpu(part, "sum", flags, constants)


def _step_on_cpu(batch: ParameterBatch, squares: str, flags: int, constants: _Constants) -> None:
    """Hand one batch to the C++ code; ``squares`` names the state in place of ``square_avg``."""
    params, grads = batch.params, batch.grads
    states = [batch.states.get(name) for name in (squares, "grad_avg", "momentum_buffer")]
    step = _cpu_function(params[0].dtype)
    addresses, sizes = array("q"), array("q")
    copies: list[tuple[Tensor, Tensor]] = []
    # Copies must outlive the call: the C++ code has only their addresses.
    flat_grads = []
    for index, param in enumerate(params):
        layout = _memory_format(param)
        flat_param = _flat(param, layout, copies)
        grad = grads[index].resolve_neg().contiguous(memory_format=layout)
        flat_grads.append(grad)
        sizes.append(param.numel())
        addresses.append(flat_param.data_ptr())
        addresses.append(grad.data_ptr())
        for state in states:
            address = 0 if state is None else _flat(state[index], layout, copies).data_ptr()
            addresses.append(address)
    step(
        len(params),
        addresses.buffer_info()[0],
        sizes.buffer_info()[0],
        flags,
        ctypes.byref(constants),
        get_num_threads(),
        may_use_openmp(),
    )
    for original, copy in copies:
        original.copy_(copy)
    # Autograd must see the writes, or it would not notice a parameter changed before backward.
    for written in (params, *states):
        if written is not None:
            increment_version(written)


def _memory_format(param: Tensor) -> torch.memory_format:
    """The order in which the elements of ``param`` are visited; its own, if it is dense."""
    if param.is_contiguous() or param.dim() != 4:
        return torch.contiguous_format
    is_channels_last = param.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_channels_last else torch.contiguous_format


def _flat(
    tensor: Tensor, layout: torch.memory_format, copies: list[tuple[Tensor, Tensor]]
) -> Tensor:
    """``tensor`` laid out densely; a copy to be written back is noted in ``copies``."""
    if tensor.is_contiguous(memory_format=layout):
        return tensor
    copy = tensor.contiguous(memory_format=layout)
    copies.append((tensor, copy))
    return copy


# The arguments are those in csrc/fused_cpu.cpp: num_tensors, addresses, sizes, flags, constants,
# num_threads, use_openmp.
_PROTOTYPE = ctypes.CFUNCTYPE(
    None,
    ctypes.c_int64,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.POINTER(_Constants),
    ctypes.c_int64,
    ctypes.c_int,
)


@functools.cache
def _cpu_function(dtype: torch.dtype) -> Callable[..., None]:
    """The compiled step for ``dtype``; OSError if there is none."""
    return _PROTOTYPE(("rmsprop_step", load_library(_CPP_TYPES[dtype])))


@functools.cache
def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    return torch.compile(function)


def _as_tensor(lr: float | Tensor, device: torch.device) -> Tensor:
    # A number would be compiled into the kernel, and every new value would be compiled anew.
    return lr if isinstance(lr, Tensor) else torch.full((), lr, device=device)
