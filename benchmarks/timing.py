"""How long steps take, the device waited for; and how fast the device is at large matrix products."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

Step = Callable[[], int]
"""One step of training; gives its useful tokens."""


def synchronise(device: torch.device) -> None:
    """Wait for what a device was told to do; the CPU is done when the call is."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def timed(step: Step, device: torch.device) -> tuple[int, float]:
    """A step's useful tokens, and its seconds."""
    synchronise(device)
    started = time.perf_counter()
    tokens = step()
    synchronise(device)
    return tokens, time.perf_counter() - started


def measure(ways: dict[str, Step], rounds: int, device: torch.device) -> dict[str, float]:
    """Median useful tokens a second of each way, which take turns; the first round warms up and does not count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, step in ways.items():
            tokens, seconds = timed(step, device)
            found[name].append(tokens / seconds)
    return {name: statistics.median(speeds[1:]) for name, speeds in found.items()}


def gained(
    steps: Callable[[Sequence[int]], Step], counts: Sequence[int], rounds: int, device: torch.device
) -> dict[int, float]:
    """How many times as long N prompts' own steps take, one after the other, as their one step together; the median.

    A round times every prompt by itself once, and then each N, on the same rows. The first warms up.

    Args:
        steps: the step of the prompts with these seeds.
        counts: what N is.
        rounds: that count.
        device: where it all happens.
    """
    alone = [steps([seed]) for seed in range(max(counts))]
    together = {N: steps(range(N)) for N in counts}
    found: dict[int, list[float]] = {N: [] for N in counts}
    for _ in range(rounds + 1):
        seconds = [timed(step, device)[1] for step in alone]
        for N, step in together.items():
            found[N].append(sum(seconds[:N]) / timed(step, device)[1])
    return {N: statistics.median(ratios[1:]) for N, ratios in found.items()}


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int, seconds: float = 2.0) -> float:
    """Operations a second in products of large matrices: what this machine can do."""
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    one @ other
    synchronise(device)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        one @ other
        synchronise(device)
        done += 1
    return 2 * size**3 * done / (time.perf_counter() - started)
