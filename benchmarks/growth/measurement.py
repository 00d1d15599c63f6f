"""CPU time and memory of a workload at each size, and the fitted exponents."""

from __future__ import annotations

import gc
import math
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch

from benchmarks.growth.workload import ScalingWorkload
from softprompt.comparison.runs.peak_memory import get_peak_memory_bytes, reset_peak_memory

CPU = torch.device("cpu")
MEBIBYTE = 2**20


@dataclass(frozen=True)
class WorkloadMeasurement:
    """Cost of a workload at one size.

    Attributes:
        size: number of the workload's units.
        cpu_seconds: CPU time of all threads of the process; other programs on the machine change it little.
        mebibytes: peak of the resident memory above the process's memory before the work.
    """

    size: int
    cpu_seconds: float
    mebibytes: float


def measure_workload(workload: ScalingWorkload) -> list[WorkloadMeasurement]:
    """Measure each size in its own process, the smallest first."""
    return [measure_in_subprocess(workload, size) for size in workload.sizes]


def measure_in_subprocess(workload: ScalingWorkload, size: int) -> WorkloadMeasurement:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure_in_process, workload, size).result()


def measure_in_process(workload: ScalingWorkload, size: int) -> WorkloadMeasurement:
    work = workload.prepare(size)
    gc.collect()
    reset_peak_memory(CPU)
    before, started = get_peak_mebibytes(), time.process_time()
    work()
    return WorkloadMeasurement(size, time.process_time() - started, get_peak_mebibytes() - before)


def get_peak_mebibytes() -> float:
    return (get_peak_memory_bytes(CPU) or 0) / MEBIBYTE


def fit_exponent(sizes: list[int], costs: list[float]) -> float | None:
    """Fit k in cost = c · size^k by least squares on the logarithms; None if a cost is not positive."""
    if len(sizes) < 2 or min(costs) <= 0:
        return None
    slope, _ = statistics.linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs])
    return slope
