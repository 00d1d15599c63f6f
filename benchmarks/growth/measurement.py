"""The CPU time and the memory of a workload at each size, and the exponents that fit them."""

from __future__ import annotations

import gc
import math
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch

from benchmarks.growth.workload import Workload
from softprompt.comparison.memory import forget_peak, peak_bytes

CPU = torch.device("cpu")
MEBI = 2**20


@dataclass(frozen=True)
class Measurement:
    """What one size of a workload cost.

    Attributes:
        size: how many there were of the workload's unit.
        cpu_seconds: of all threads of the process; a busy machine does not change it much.
        mebibytes: the peak of resident memory above what the process held before.
    """

    size: int
    cpu_seconds: float
    mebibytes: float


def measure_workload(workload: Workload) -> list[Measurement]:
    """Measure each size in a process of its own, the smallest first."""
    return [measure_alone(workload, size) for size in workload.sizes]


def measure_alone(workload: Workload, size: int) -> Measurement:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure_here, workload, size).result()


def measure_here(workload: Workload, size: int) -> Measurement:
    work = workload.prepare(size)
    gc.collect()
    forget_peak(CPU)
    before, started = peak_mebibytes(), time.process_time()
    work()
    return Measurement(size, time.process_time() - started, peak_mebibytes() - before)


def peak_mebibytes() -> float:
    return (peak_bytes(CPU) or 0) / MEBI


def fit_exponent(sizes: list[int], costs: list[float]) -> float | None:
    """Fit k in cost = c · size^k by least squares on the logarithms; None where a cost is not above 0."""
    if len(sizes) < 2 or min(costs) <= 0:
        return None
    slope, _ = statistics.linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs])
    return slope
