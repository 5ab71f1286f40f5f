"""What the optimizer did in one update, layer by layer."""

import time
from typing import Protocol

import torch
from torch import Tensor, nn

from dqn.run_format import (
    DIAGNOSTICS_SECONDS,
    TRAIN_GRAD_NORM,
    effective_lr_log10_tag,
    update_ratio_tag,
)
from dqn.training.telemetry import Telemetry
from rmsprop import LayerSummary, update_ratios


class Diagnose(Protocol):
    """Per-layer effective learning rates of an optimizer, by parameter name."""

    def __call__(self, optimizer: torch.optim.Optimizer) -> dict[str, LayerSummary]: ...


class LayerLog:
    """Gradient norm, update ratios and effective learning rates of the updates it is told of.

    Args:
        network: its parameters.
        optimizer: over these parameters.
        diagnose: the optimizer's effective learning rates, or None where unknown.
        telemetry: where histograms go.
        histograms: also write the histogram of each layer's effective learning rates.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        diagnose: Diagnose | None,
        telemetry: Telemetry,
        histograms: bool,
    ) -> None:
        self._network = network
        self._optimizer = optimizer
        self._diagnose = diagnose
        self._telemetry = telemetry
        self._histograms = histograms

    def parameters(self) -> dict[str, Tensor]:
        """Copies of the parameters: what ``measure`` compares with, taken before an update."""
        return {
            name: parameter.detach().clone() for name, parameter in self._network.named_parameters()
        }

    def measure(self, before: dict[str, Tensor], agent_steps: int) -> dict[str, float]:
        """The metrics of the update just made; histograms are written at once.

        Args:
            before: ``parameters()`` as they were before the update.
            agent_steps: the x-axis of the histograms.
        """
        started = time.perf_counter()
        metrics: dict[str, float] = {TRAIN_GRAD_NORM: self._grad_norm()}
        for name, ratio in update_ratios(before, self.parameters()).items():
            metrics[update_ratio_tag(name)] = ratio
        summaries = {} if self._diagnose is None else self._diagnose(self._optimizer)
        for name, summary in summaries.items():
            metrics |= summary.scalars(name)
            if self._histograms:
                self._telemetry.write_histogram(
                    agent_steps, effective_lr_log10_tag(name), summary.log10_histogram
                )
        metrics[DIAGNOSTICS_SECONDS] = time.perf_counter() - started
        return metrics

    def _grad_norm(self) -> float:
        gradients = [p.grad for p in self._network.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))
