"""Measures steps with synchronization of the device, and the device's speed at large matrix products."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

Step = Callable[[], int]
"""One step of training; gives its useful tokens."""


def synchronize_device(device: torch.device) -> None:
    """Wait for the device's queued work; the CPU has none."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def time_step(step: Step, device: torch.device) -> tuple[int, float]:
    """Return a step's useful tokens and its seconds."""
    synchronize_device(device)
    started = time.perf_counter()
    tokens = step()
    synchronize_device(device)
    return tokens, time.perf_counter() - started


def measure_speeds(steps: dict[str, Step], rounds: int, device: torch.device) -> dict[str, float]:
    """Measure the median useful tokens per second of each step. The steps alternate after a warm-up round."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            tokens, seconds = time_step(step, device)
            found[name].append(tokens / seconds)
    return {name: statistics.median(speeds[1:]) for name, speeds in found.items()}


def measure_joint_gain(
    make_step: Callable[[Sequence[int]], Step], counts: Sequence[int], rounds: int, device: torch.device
) -> dict[int, float]:
    """Measure the median time of N separate steps relative to one joint step of N prompts.

    A round times every prompt separately, and then each N, on the same examples. The first round is a warm-up.

    Args:
        make_step: function that returns the step of the prompts with the given seeds.
        counts: values of N.
        rounds: number of measured rounds.
        device: device of the model.
    """
    alone = [make_step([seed]) for seed in range(max(counts))]
    together = {N: make_step(range(N)) for N in counts}
    found: dict[int, list[float]] = {N: [] for N in counts}
    for _ in range(rounds + 1):
        seconds = [time_step(step, device)[1] for step in alone]
        for N, step in together.items():
            found[N].append(sum(seconds[:N]) / time_step(step, device)[1])
    return {N: statistics.median(ratios[1:]) for N, ratios in found.items()}


def measure_matrix_rate(device: torch.device, dtype: torch.dtype, size: int, seconds: float = 2.0) -> float:
    """Measure the operations per second in products of large matrices, the machine's limit."""
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    one @ other
    synchronize_device(device)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        one @ other
        synchronize_device(device)
        done += 1
    return 2 * size**3 * done / (time.perf_counter() - started)
