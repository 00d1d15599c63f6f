"""The growth benchmark's measurement and its fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.growth.__main__ import WORKLOADS, summarize, tabulate
from benchmarks.growth.measurement import fit_exponent
from benchmarks.growth.workload import ScalingWorkload


def test_the_exponent_of_a_power_law_is_fitted() -> None:
    assert fit_exponent([10, 100, 1000], [3 * size**1.5 for size in (10, 100, 1000)]) == pytest.approx(1.5)


def test_a_cost_of_zero_has_no_exponent() -> None:
    assert fit_exponent([1, 2], [0.0, 1.0]) is None


def allocate(size: int) -> Callable[[], object]:
    return lambda: bytearray(size * 2**20)


def test_the_memory_of_a_workload_is_measured_at_each_size() -> None:
    result = summarize(ScalingWorkload("allocate", (8, 32), allocate, "MiB"))
    small, large = result["measurements"]
    assert small["mebibytes"] + 16 < large["mebibytes"]
    assert tabulate([result]).row_count == 1


def test_workloads_have_unique_names_and_increasing_sizes() -> None:
    assert len({each.name for each in WORKLOADS}) == len(WORKLOADS)
    assert all(list(each.sizes) == sorted(set(each.sizes)) for each in WORKLOADS)
