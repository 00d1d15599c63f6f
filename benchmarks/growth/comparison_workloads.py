"""Growth of a comparison's statistics and report with test examples and with methods."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.growth.workload import ScalingWorkload
from softprompt.comparison.analysis.aggregation import build_pairwise_tests
from softprompt.comparison.report import ComparisonResults, add_recommendation, write_report

NUM_SEEDS, NUM_LABELS = 3, 50


def prepare_bootstrap_by_rows(num_rows: int) -> Callable[[], object]:
    """Prepare the paired bootstrap of four methods on `size` test examples."""
    return prepare_bootstrap(4, num_rows)


def prepare_bootstrap_by_methods(num_methods: int) -> Callable[[], object]:
    """Prepare the paired bootstrap of `size` methods on 2,000 test examples."""
    return prepare_bootstrap(num_methods, 2_000)


def prepare_bootstrap(num_methods: int, num_rows: int) -> Callable[[], object]:
    """Prepare the paired bootstrap of methods with random scores."""
    source = np.random.default_rng(0)
    scores = {str(i): (source.random((NUM_SEEDS, num_rows)) < 0.9).astype(float) for i in range(num_methods)}
    return lambda: build_pairwise_tests(scores)


def prepare_wide_report(num_methods: int) -> Callable[[], object]:
    """Prepare the report of `size` methods and many labels."""
    results, folder = make_results(num_methods), Path(tempfile.mkdtemp(prefix="growth-"))
    return lambda: write_report(add_recommendation(results), folder)


def make_results(num_methods: int) -> ComparisonResults:
    """Make the results of many methods, whose metrics come from a formula."""
    means = {f"method-{place}": 0.8 + 0.1 * (place * 37 % num_methods) / num_methods for place in range(num_methods)}
    half = 0.02
    entries = {name: _make_method_entry(place, mean) for place, (name, mean) in enumerate(means.items())}
    for name, entry in entries.items():
        entry["pairwise_tests"] = {
            other: _make_pairwise_test(means[name] - mean, half) for other, mean in means.items() if other != name
        }
    split = {"source": "rows.jsonl", "num_examples": 1000}
    content = {
        "format_version": 2,
        "command": "softprompt compare",
        "created_at": "2026-11-21T15:40:00+00:00",
        "softprompt_version": "0.1.0",
        "machine": "cpu",
        "elapsed_minutes": 1.0,
        "model": {"name": "m", "num_parameters": 10**8, "fingerprint": "0" * 16, "precision": "float32"},
        "task": {"kind": "classification", "template": "{text}", "labels": [f"label {n}" for n in range(NUM_LABELS)]},
        "data": {"train": split, "validation": split, "test": split, "out_of_domain": None, "overlap": {}},
        "budget": {
            "max_steps": 100,
            "batch_size": 16,
            "minutes": None,
            "num_trials": 3,
            "seeds": list(range(NUM_SEEDS)),
        },
        "headline_metric": "accuracy",
        "higher_is_better": True,
        "methods": entries,
    }
    return ComparisonResults.model_validate(content)


def _make_method_entry(index: int, mean: float) -> dict[str, Any]:
    summary = {"mean": mean, "std": 0.01, "worst": mean - 0.01, "values": [mean - 0.01, mean, mean + 0.01]}
    steps = range(10, 110, 10)
    return {
        "title": f"method {index}",
        "kind": "weights",
        "status": "completed",
        "metrics": {"accuracy": summary},
        "num_trained_parameters": 1000 * (index + 1),
        "trained_fraction": 1e-5,
        "stored_bytes_per_task": 4000 * (index + 1),
        "train_seconds": 10.0 + index,
        "search_seconds": 30.0,
        "useful_tokens_per_second": 100.0,
        "peak_memory_bytes": 10**9,
        "serving": None,
        "shares_base_weights": True,
        "forgetting": None,
        "out_of_domain_metrics": None,
        "learning_rates": None,
        "training_curve": [
            {"seed": 0, "step": step, "metrics": {"accuracy": mean - 0.3 * math.exp(-step / 30)}} for step in steps
        ],
        "metrics_by_train_size": {},
        "metrics_by_setting": {},
        "confusion_matrix": [
            [20 if i == j else (i + j + index) % 2 for j in range(NUM_LABELS)] for i in range(NUM_LABELS)
        ],
        "api_usage": None,
    }


def _make_pairwise_test(difference: float, half_width: float) -> dict[str, Any]:
    verdict = "better" if difference > half_width else "worse" if difference < -half_width else "no difference shown"
    return {
        "difference": difference,
        "ci_low": difference - half_width,
        "ci_high": difference + half_width,
        "verdict": verdict,
    }


WORKLOADS = (
    ScalingWorkload(
        "comparison: bootstrap of 4 methods", (1_000, 10_000, 100_000), prepare_bootstrap_by_rows, "test rows"
    ),
    ScalingWorkload("comparison: bootstrap of 2,000 rows", (5, 10, 30), prepare_bootstrap_by_methods, "methods"),
    ScalingWorkload("comparison: report of 50 labels", (5, 10, 30), prepare_wide_report, "methods"),
)
