"""Logs effective learning rates while any PyTorch script trains: attach it in two lines."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.optim import Optimizer

from rmsprop.effective_lr import parameter_names, update_ratios
from rmsprop.summaries import LayerSummary, effective_learning_rate_summaries


class SummaryWriter(Protocol):
    """What the monitor needs of a writer; ``torch.utils.tensorboard.SummaryWriter`` has it."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object: ...

    def add_histogram_raw(
        self,
        tag: str,
        min: float,
        max: float,
        num: int,
        sum: float,
        sum_squares: float,
        bucket_limits: list[float],
        bucket_counts: list[int],
        global_step: int,
    ) -> object: ...


class EffectiveLearningRateMonitor:
    """Writes effective learning rates and update ratios of an optimizer every so many steps.

    It listens to the optimizer's step hooks, so the training loop stays as it is::

        monitor = EffectiveLearningRateMonitor(optimizer, SummaryWriter("runs/mine"))

    Tags, for every parameter by its name (give the optimizer ``named_parameters()``):

    - ``effective_lr/<parameter>/p05``, ``p50``, ``p95``: quantiles over its elements;
    - ``effective_lr_eps_bound/<parameter>``: share of elements where ε outweighs the root;
    - ``effective_lr_log10/<parameter>``: histogram of log10 of the rates, if any is finite and
      positive;
    - ``update_ratio/<parameter>``: ‖Δθ‖ / ‖θ‖ of the step just taken.

    Args:
        optimizer: any that :func:`rmsprop.effective_learning_rates` takes.
        writer: where to write, for example TensorBoard's SummaryWriter.
        period_steps: write at every step whose number, counted by this monitor from 1, is a
            multiple of this. Other steps cost next to nothing.
        initial_step: what to count from, to continue the x-axis of an earlier run.

    Raises:
        ValueError: if ``period_steps`` is not positive.
        TypeError: at the first step written, for an optimizer without effective learning rates.

    >>> import torch
    >>> class Printer:
    ...     def add_scalar(self, tag, scalar_value, global_step):
    ...         if tag.endswith("p50"):
    ...             print(tag, round(scalar_value, 6), global_step)
    ...     def add_histogram_raw(self, tag, **histogram): ...
    >>> theta = torch.nn.Parameter(torch.ones(3))
    >>> optimizer = torch.optim.SGD([("theta", theta)], lr=0.1)
    >>> monitor = EffectiveLearningRateMonitor(optimizer, Printer(), period_steps=2)
    >>> for _ in range(4):
    ...     theta.grad = torch.ones(3)
    ...     optimizer.step()
    effective_lr/theta/p50 0.1 2
    effective_lr/theta/p50 0.1 4
    >>> monitor.detach()
    """

    def __init__(
        self,
        optimizer: Optimizer,
        writer: SummaryWriter,
        *,
        period_steps: int = 100,
        initial_step: int = 0,
    ) -> None:
        if period_steps < 1:
            raise ValueError(f"period_steps must be at least 1, got {period_steps}")
        self.num_steps = initial_step
        self._optimizer = optimizer
        self._writer = writer
        self._period_steps = period_steps
        self._before: dict[str, Tensor] = {}
        self._handles = [
            optimizer.register_step_pre_hook(lambda *_: self._remember()),
            optimizer.register_step_post_hook(lambda *_: self._record()),
        ]

    def detach(self) -> None:
        """Stop listening."""
        for handle in self._handles:
            handle.remove()

    def _remember(self) -> None:
        if (self.num_steps + 1) % self._period_steps == 0:
            self._before = {
                name: param.detach().clone() for name, param in parameter_names(self._optimizer)
            }

    def _record(self) -> None:
        self.num_steps += 1
        if self.num_steps % self._period_steps != 0:
            return
        for name, summary in effective_learning_rate_summaries(self._optimizer).items():
            self._write_summary(name, summary)
        after = dict(parameter_names(self._optimizer))
        for name, ratio in update_ratios(self._before, after).items():
            self._writer.add_scalar(f"update_ratio/{name}", ratio, self.num_steps)
        self._before = {}

    def _write_summary(self, name: str, summary: LayerSummary) -> None:
        for tag, value in summary.scalars(name).items():
            self._writer.add_scalar(tag, value, self.num_steps)
        histogram = summary.log10_histogram.tensorboard()
        if histogram is not None:
            tag = f"effective_lr_log10/{name}"
            self._writer.add_histogram_raw(tag, **histogram, global_step=self.num_steps)
