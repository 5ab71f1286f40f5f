"""Watch effective learning rates in a plain supervised script, without touching its loop.

    python examples/effective_learning_rates.py --run-dir /tmp/effective_learning_rates
    tensorboard --logdir /tmp/effective_learning_rates

One input is large and always there, the other small and rare. SGD's one rate would have to suit
both; RMSprop gives the column of the rare input a far larger effective rate, as the spread of
``effective_lr/0.weight`` shows.
"""

from __future__ import annotations

import argparse

import torch
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

import rmsprop


def batch(size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs [size, 2] and targets [size, 1]."""
    frequent = 10 * torch.randn(size, 1)
    rare = 0.1 * torch.randn(size, 1) * (torch.rand(size, 1) < 0.05)
    return torch.cat([frequent, rare], dim=1), torch.sin(frequent) + 20 * rare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run-dir", default="runs/effective_learning_rates")
    parser.add_argument("--num-steps", type=int, default=2000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    optimizer = rmsprop.RMSprop(model.named_parameters(), lr=1e-3, alpha=0.9)

    # The two lines that a script of yours would add:
    writer = SummaryWriter(arguments.run_dir)
    rmsprop.EffectiveLearningRateMonitor(optimizer, writer, period_steps=100)

    for _ in range(arguments.num_steps):
        inputs, targets = batch()
        optimizer.zero_grad()
        functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    writer.close()

    columns = rmsprop.effective_learning_rates(optimizer)["0.weight"].median(dim=0).values
    print(f"median effective rate, frequent input: {columns[0]:.2e}, rare input: {columns[1]:.2e}")


if __name__ == "__main__":
    main()
