"""How the statistics and the report of a comparison grow with test rows and with ways."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.growth.workload import Workload
from softprompt.comparison.report import recommend, write_report
from softprompt.comparison.summary import compared

SEEDS, LABELS = 3, 50


def compare_four_ways(rows: int) -> Callable[[], object]:
    """Prepare the paired bootstrap of four ways on so many rows."""
    return bootstrap(4, rows)


def compare_ways(ways: int) -> Callable[[], object]:
    """Prepare the paired bootstrap of so many ways on 2,000 rows."""
    return bootstrap(ways, 2_000)


def bootstrap(ways: int, rows: int) -> Callable[[], object]:
    """Prepare the paired bootstrap of so many ways on so many rows."""
    source = np.random.default_rng(0)
    scores = {str(way): (source.random((SEEDS, rows)) < 0.9).astype(float) for way in range(ways)}
    return lambda: compared(scores)


def write_wide_report(ways: int) -> Callable[[], object]:
    """Prepare the report of so many ways by many labels."""
    report, folder = make_report(ways), Path(tempfile.mkdtemp(prefix="growth-"))

    def work() -> None:
        report["recommendation"] = recommend(report)
        write_report(report, folder)

    return work


def make_report(ways: int) -> dict[str, Any]:
    """A report of ways whose figures come from a formula."""
    means = {f"way-{place}": 0.8 + 0.1 * (place * 37 % ways) / ways for place in range(ways)}
    half = 0.02
    facts = {name: _way(place, mean) for place, (name, mean) in enumerate(means.items())}
    for name, way in facts.items():
        way["versus"] = {other: _test(means[name] - mean, half) for other, mean in means.items() if other != name}
    split = {"source": "rows.jsonl", "examples": 1000}
    return {
        "version": 1,
        "command": "softprompt compare",
        "made": "2026-11-21T15:40:00+00:00",
        "softprompt": "0.1.0",
        "machine": "cpu",
        "minutes": 1.0,
        "model": {"name": "m", "parameters": 10**8, "fingerprint": "0" * 16, "precision": "float32"},
        "task": {"kind": "classification", "template": "{text}", "labels": [f"label {n}" for n in range(LABELS)]},
        "data": {"training": split, "validation": split, "test": split, "out_of_domain": None, "overlap": {}},
        "budget": {"steps": 100, "batch_size": 16, "minutes": None, "trials": 3, "seeds": list(range(SEEDS))},
        "metric": "accuracy",
        "larger_is_better": True,
        "ways": facts,
    }


def _way(place: int, mean: float) -> dict[str, Any]:
    figures = {"mean": mean, "spread": 0.01, "worst": mean - 0.01, "seeds": [mean - 0.01, mean, mean + 0.01]}
    steps = range(10, 110, 10)
    return {
        "title": f"way number {place}",
        "kind": "weights",
        "accuracy": figures,
        "trained_parameters": 1000 * (place + 1),
        "trained_share": 1e-5,
        "bytes_per_task": 4000 * (place + 1),
        "seconds": 10.0 + place,
        "search_seconds": 30.0,
        "useful_tokens_per_second": 100.0,
        "peak_memory_bytes": 10**9,
        "serving": None,
        "removable": True,
        "forgetting": None,
        "out_of_domain": None,
        "learning_rate": None,
        "curve": [{"seed": 0, "step": step, "accuracy": mean - 0.3 * math.exp(-step / 30)} for step in steps],
        "sizes": {},
        "sweeps": {},
        "confusion": [[20 if i == j else (i + j + place) % 2 for j in range(LABELS)] for i in range(LABELS)],
        "calls": None,
    }


def _test(apart: float, half: float) -> dict[str, Any]:
    verdict = "better" if apart > half else "worse" if apart < -half else "no difference shown"
    return {"difference": apart, "low": apart - half, "high": apart + half, "verdict": verdict}


WORKLOADS = (
    Workload("comparison: bootstrap of 4 ways", (1_000, 10_000, 100_000), compare_four_ways, "test rows"),
    Workload("comparison: bootstrap of 2,000 rows", (5, 10, 30), compare_ways, "ways"),
    Workload("comparison: report of 50 labels", (5, 10, 30), write_wide_report, "ways"),
)
