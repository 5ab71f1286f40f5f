"""Time of one optimizer step on the parameters of the Nature DQN network.

Contenders take turns, one timed step each, and are compared by medians, so that a busy neighbour
slows all of them alike. Every one has parameters, gradients and state of its own; before each timed
step it takes an untimed one, so that they lie in cache as they do after a backward pass ("warm"),
unless ``--cold`` is given.

"GB/s" is what a step must move at least (every gradient read once, every parameter and state read
and written once), divided by its time; beside it, the same as a share of what a plain copy reaches.
A step that passes over memory several times scores low. One pass can score up to 150 %: a processor
reads the lines that a copy overwrites, which are not counted; a step has read them anyway.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from benchmarks.machine import describe_machine
from torch import Tensor

import rmsprop

# Mnih et al. 2015: three convolutions, a hidden layer of 512 units and, for Pong, six actions.
NATURE_SHAPES = [
    (32, 4, 8, 8), (32,), (64, 32, 4, 4), (64,), (64, 64, 3, 3), (64,),
    (512, 3136), (512,), (6, 512), (6,),
]  # fmt: skip

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "centred": {"centered": True},
    "momentum": {"momentum": 0.9},
    "centred + momentum": {"centered": True, "momentum": 0.9},
}

OUR_PATHS = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "for-loop": {"fused": False, "foreach": False},
}

_COPY = ("copy of the parameters", "-")
_ADAM = ("torch Adam fused", "-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--rounds", type=int, default=101, help="timed steps each; default: 101")
    parser.add_argument("--cold", action="store_true", help="let the contenders evict each other")
    parser.add_argument(
        "--own-threads", action="store_true", help="give our fused step threads of its own"
    )
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for num_threads in arguments.threads:
        torch.set_num_threads(num_threads)
        rmsprop.set_num_threads(num_threads if arguments.own_threads else None)
        torch.compiler.reset()
        steps = dict(_contenders(compiled=not arguments.no_compile))
        times = _interleaved(steps, arguments.rounds, warm=not arguments.cold)
        rows += _summaries(times, num_threads)
        _print_table(rows[-len(steps) :], num_threads)
    return {"environment": _environment(arguments), "rows": rows}


def _contenders(compiled: bool) -> Iterator[tuple[tuple[str, str], Callable[[], object]]]:
    """Yield (contender, variant) and the step to time."""
    for variant, options in VARIANTS.items():
        for path, flags in OUR_PATHS.items():
            yield (
                (f"rmsprop {path}", variant),
                rmsprop.RMSprop(_params(), **options, **flags).step,
            )
        yield (
            ("torch for-loop", variant),
            torch.optim.RMSprop(_params(), **options, foreach=False).step,
        )
        yield (
            ("torch foreach", variant),
            torch.optim.RMSprop(_params(), **options, foreach=True).step,
        )
        if compiled:
            peer = torch.optim.RMSprop(_params(), **options)
            yield ("torch compiled", variant), torch.compile(peer.step)
    yield _ADAM, torch.optim.Adam(_params(), fused=True).step
    source, target = _params(), _params()
    yield _COPY, lambda: torch._foreach_copy_(target, source)


def _params() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    params = [0.01 * torch.randn(shape, generator=generator) for shape in NATURE_SHAPES]
    for param in params:
        param.grad = 1e-3 * torch.randn(param.shape, generator=generator)
    return params


def _interleaved(
    steps: dict[tuple[str, str], Callable[[], object]], rounds: int, warm: bool
) -> dict[tuple[str, str], list[float]]:
    """Milliseconds of every timed step."""
    for step in steps.values():
        for _ in range(3):  # Makes state, compiles.
            step()
    times: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
    for _ in range(rounds):
        for key, step in steps.items():
            if warm:
                step()
            start = time.perf_counter()
            step()
            times[key].append(1e3 * (time.perf_counter() - start))
    return times


def _summaries(times: dict[tuple[str, str], list[float]], num_threads: int) -> list[dict[str, Any]]:
    medians = {key: statistics.median(values) for key, values in times.items()}
    num_elements = sum(param.numel() for param in _params())
    copy_bytes_per_ms = num_elements * bytes_per_element(*_COPY) / medians[_COPY]
    rows = []
    for (contender, variant), median in medians.items():
        deciles = statistics.quantiles(times[contender, variant], n=10)
        eager = [
            medians[name, variant]
            for name in ("torch for-loop", "torch foreach")
            if (name, variant) in medians
        ]
        num_bytes = num_elements * bytes_per_element(contender, variant)
        rows.append(
            {
                "contender": contender,
                "variant": variant,
                "threads": num_threads,
                "median_ms": median,
                "p10_ms": deciles[0],
                "p90_ms": deciles[-1],
                "speedup_over_fastest_eager_torch": min(eager) / median if eager else None,
                "time_relative_to_fused_adam": median / medians[_ADAM],
                "bytes_moved_at_least": num_bytes,
                "gigabytes_per_second": num_bytes / median / 1e6,
                "share_of_copy_bandwidth": num_bytes / median / copy_bytes_per_ms,
            }
        )
    return rows


def bytes_per_element(contender: str, variant: str) -> int:
    """What one float32 element of a parameter makes a step read and write, if each only once."""
    if (contender, variant) == _COPY:
        return 8  # Read here, written there.
    options = VARIANTS.get(variant, {})
    # Parameter and first average; both of Adam's; grad_avg and momentum_buffer as needed.
    read_and_written = 2 + len(options) if contender != _ADAM[0] else 3
    return 4 * (1 + 2 * read_and_written)


def _print_table(rows: list[dict[str, Any]], num_threads: int) -> None:
    print(f"\n{num_threads} thread(s); ms per step: median (10th to 90th percentile)")
    for row in rows:
        speedup = row["speedup_over_fastest_eager_torch"]
        print(
            f"{row['contender']:24}{row['variant']:20}"
            f"{row['median_ms']:8.3f} ({row['p10_ms']:.3f} to {row['p90_ms']:.3f})".ljust(76)
            + (f"{speedup:6.2f}x eager torch" if speedup else " " * 19)
            + f"{row['time_relative_to_fused_adam']:8.2f} of fused Adam"
            + f"{row['gigabytes_per_second']:8.1f} GB/s"
            + f"{row['share_of_copy_bandwidth']:7.0%} of copy"
        )


def _environment(arguments: argparse.Namespace) -> dict[str, Any]:
    return describe_machine() | {
        "rounds": arguments.rounds,
        "cache": "cold" if arguments.cold else "warm",
        "own_threads": arguments.own_threads,
        "num_parameters": sum(param.numel() for param in _params()),
    }
