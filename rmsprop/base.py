"""The base class of RMSprop and Adagrad: groups, lazy state, closures, choice of path.

No mathematics here. A subclass says which state tensors it needs and how to step a batch of
parameters; this class collects them from the groups as ``torch.optim`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar, Literal, TypeVar, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT, StateDict

from rmsprop import fused
from rmsprop.batch import ParameterBatch
from rmsprop.rule import AdagradHyperparameters, RMSpropHyperparameters

Hyperparameters = TypeVar("Hyperparameters", RMSpropHyperparameters, AdagradHyperparameters)

Group = dict[str, Any]
"""One of ``torch.optim.Optimizer.param_groups``."""


class ElementwiseOptimizer(Optimizer):
    """Base of optimizers whose update treats every element of a parameter by itself."""

    _FLAGS_TORCH_LACKS: ClassVar[dict[str, object]] = {}
    """Group keys unknown to the torch.optim class of the same name, with PyTorch's behaviour."""

    def __init__(self, params: ParamsT, defaults: Group) -> None:
        self._check_group(defaults)
        super().__init__(params, defaults)

    def _check_group(self, group: Group) -> None:
        """Raise ValueError if a hyperparameter of ``group`` is out of range."""
        raise NotImplementedError

    def _initial_state(self, group: Group) -> dict[str, float]:
        """Name and first value of every elementwise state tensor that ``group`` needs."""
        raise NotImplementedError

    def _for_loop(self, batch: ParameterBatch, group: Group) -> None:
        """Take one step, parameter by parameter."""
        raise NotImplementedError

    def _foreach(self, batch: ParameterBatch, group: Group) -> None:
        """Take one step for parameters of one device and dtype, operation by operation."""
        raise NotImplementedError

    def _fused(self, batch: ParameterBatch, group: Group, grad_scale: float) -> None:
        """Take one step for parameters of one device and dtype, in one pass over memory."""
        raise NotImplementedError

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; its hyperparameters are checked as the constructor's are."""
        if isinstance(param_group, dict):
            self._check_group({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load a state of this class or of the torch.optim class of the same name.

        Hyperparameters are loaded too, as in torch.optim. PyTorch's state does not say where ε
        stands and so on, because there it cannot vary.

        Raises:
            ValueError: if the state lacks a setting of ours and this optimizer uses another value
                than PyTorch's: the two would silently follow different rules.
        """
        for index, (own, saved) in enumerate(
            zip(self.param_groups, state_dict["param_groups"], strict=False)
        ):
            for key, torch_value in self._FLAGS_TORCH_LACKS.items():
                if key not in saved and own[key] != torch_value:
                    raise ValueError(
                        f"state_dict has no {key!r} in group {index}, so it was made with "
                        f"{key}={torch_value}; this optimizer has {key}={own[key]}"
                    )
        super().load_state_dict(state_dict)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for key, torch_value in self._FLAGS_TORCH_LACKS.items():
                group.setdefault(key, torch_value)
            for key, value in _IMPLEMENTATION_DEFAULTS.items():
                group.setdefault(key, value)
            for param in group["params"]:
                param_state = self.state.get(param)
                # States saved before torch 1.12 count steps in a Python number.
                if param_state and not isinstance(param_state["step"], Tensor):
                    param_state["step"] = _step_tensor(param, float(param_state["step"]), group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient.

        Args:
            closure: re-evaluates the model and returns the loss, which is then returned. A
                parameter whose gradient is None is left alone, its state too; one whose gradient
                is zero is not, since the averages decay and a momentum buffer moves on.
        """
        _refuse_capture_without_capturable(self.param_groups)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._gradients_overflowed():
            return loss
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            for group in self.param_groups:
                self._update(self._collect(group), group)
        return loss

    def _update(self, batch: ParameterBatch, group: Group) -> None:
        if group["capturable"] and not torch.compiler.is_compiling():
            _check_capturable(batch)
        grad_scale = self._grad_scale()
        for part in batch.by_device_and_dtype():
            path = _choose_path(part, group)
            if path == "fused":
                self._fused(part, group, grad_scale)
            elif path == "foreach":
                self._foreach(part.with_scaled_grads(grad_scale), group)
            else:
                self._for_loop(part.with_scaled_grads(grad_scale), group)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Tells torch.amp.GradScaler to leave unscaling and skipping to this optimizer.

        It then sets ``grad_scale`` and ``found_inf`` on it for the time of a step.
        """
        return bool(self.defaults["fused"])

    def _gradients_overflowed(self) -> bool:
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        return found_inf is not None and bool(found_inf)

    def _grad_scale(self) -> float:
        grad_scale: Tensor | None = getattr(self, "grad_scale", None)
        return 1.0 if grad_scale is None else 1.0 / grad_scale.item()

    def _collect(self, group: Group) -> ParameterBatch:
        needed = self._initial_state(group)
        batch = ParameterBatch(states={name: [] for name in needed})
        for param in group["params"]:
            grad = param.grad
            if grad is None:
                continue
            if grad.is_sparse:
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients; "
                    "use dense ones (for example nn.Embedding(..., sparse=False))"
                )
            is_complex = param.is_complex()
            real_param = torch.view_as_real(param) if is_complex else param
            real_grad = torch.view_as_real(grad.resolve_conj()) if is_complex else grad
            state = self.state[param]
            if "step" not in state:
                if group["fused"]:
                    # Checked before the state is made: a refused parameter keeps none behind.
                    _require_fused(ParameterBatch([real_param], [real_grad]))
                state["step"] = _step_tensor(param, 0.0, group)
            batch.params.append(real_param)
            batch.grads.append(real_grad)
            batch.steps.append(state["step"])
            for name, value in needed.items():
                # A state is made when first needed: momentum or centring may be switched on late.
                if name not in state:
                    state[name] = _filled_like(param, value)
                tensor = state[name]
                batch.states[name].append(torch.view_as_real(tensor) if is_complex else tensor)
        return batch


_IMPLEMENTATION_DEFAULTS: dict[str, object] = {
    "capturable": False,
    "foreach": None,
    "fused": None,
    "maximize": False,
    "differentiable": False,
}

# torch.optim allows `capturable` on these: _get_capturable_supported_devices in its optimizer.py.
_CAPTURABLE_DEVICES = ("cuda", "xpu", "hpu", "xla")


def _check_capturable(batch: ParameterBatch) -> None:
    for param, step in zip(batch.params, batch.steps, strict=True):
        if param.device.type not in _CAPTURABLE_DEVICES or step.device != param.device:
            raise RuntimeError(
                f"capturable=True needs parameters and steps on one of {_CAPTURABLE_DEVICES}, "
                f"got a parameter on {param.device} with its step on {step.device}"
            )


def check_non_negative(group: Group, key: str, label: str | None = None) -> None:
    """Raise ValueError unless ``group[key]`` is at least 0 (NaN is not)."""
    value = group[key]
    if not value >= 0.0:
        label = label or f"{key} value"
        raise ValueError(f"Invalid {label}: {value} ({key} must be at least 0)")


def check_learning_rate(group: Group) -> None:
    """Raise ValueError unless ``lr`` is a non-negative number or a tensor of one element."""
    lr = group["lr"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"Tensor lr must be 1-element, got shape {tuple(lr.shape)}")
    check_non_negative(group, "lr", "learning rate")


def check_implementation(group: Group) -> None:
    """Raise if the flags that choose the path contradict one another."""
    if group["fused"] and group["differentiable"]:
        raise RuntimeError("`fused` does not support `differentiable`; set one of them to False")
    if group["fused"] and group["foreach"]:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together; choose one")
    if group["foreach"] and group["differentiable"]:
        raise RuntimeError("`foreach` does not support `differentiable`; set one of them to False")


# Asking ``fields`` at every step would cost each one a microsecond.
_FIELD_NAMES = {
    kind: tuple(field.name for field in fields(kind))
    for kind in (RMSpropHyperparameters, AdagradHyperparameters)
}


def hyperparameters(kind: type[Hyperparameters], group: Group) -> Hyperparameters:
    """The constants of a group in the form the rule takes: each field of ``kind`` is a key of it.

    >>> group = {"lr": torch.tensor([0.1]), "eps": 1e-8, "lr_decay": 0, "weight_decay": 0}
    >>> group |= {"eps_inside_sqrt": False, "maximize": False, "foreach": None}
    >>> hyperparameters(AdagradHyperparameters, group).lr
    tensor(0.1000)
    """
    constants = {name: group[name] for name in _FIELD_NAMES[kind]}
    lr = constants["lr"]
    if isinstance(lr, Tensor) and lr.dim() > 0:
        # More than 0 dimensions would broadcast against the parameters.
        constants["lr"] = lr.reshape(())
    return kind(**constants)


def _step_tensor(param: Tensor, value: float, group: Group) -> Tensor:
    # torch.optim counts in float64 when that is the default dtype, else in float32. The step is on
    # the CPU unless a kernel must be able to read it.
    dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
    device = param.device if group["capturable"] or group["fused"] else "cpu"
    return torch.tensor(value, dtype=dtype, device=device)


def _require_fused(batch: ParameterBatch) -> None:
    reason = fused.why_not(batch)
    if reason is not None:
        raise RuntimeError(
            "`fused=True` requires all the params to be floating point Tensors on cpu or cuda, and "
            f"a C++ compiler on cpu: {reason}; use fused=None"
        )


def _choose_path(batch: ParameterBatch, group: Group) -> Literal["for-loop", "foreach", "fused"]:
    """What was asked for, else the fastest path that is safe here."""
    if group["fused"]:
        _require_fused(batch)
        return "fused"
    if group["foreach"]:
        return "foreach"
    if group["foreach"] is not None or group["differentiable"]:
        return "for-loop"
    if torch.compiler.is_compiling():
        return "foreach"
    if group["fused"] is None and fused.is_default_for(batch):
        return "fused"
    # torch.optim chooses so too: on a GPU launching kernels costs more than the memory for foreach.
    plain = all(type(param) in (Tensor, torch.nn.Parameter) for param in batch.params)
    return "foreach" if plain and batch.params[0].is_cuda else "for-loop"


def _filled_like(param: Tensor, value: float) -> Tensor:
    fill = complex(value, value) if param.is_complex() else value
    return torch.full_like(param, fill, memory_format=torch.preserve_format)


def _refuse_capture_without_capturable(groups: list[Group]) -> None:
    if not torch.cuda.is_available() or torch.compiler.is_compiling():
        return
    if torch.cuda.is_current_stream_capturing() and not all(g["capturable"] for g in groups):
        raise RuntimeError(
            "step() called inside a CUDA graph capture but a group has capturable=False; "
            "construct the optimizer with capturable=True"
        )
