"""Aggregation of the results of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from softprompt.comparison import Experiment
from softprompt.comparison.analysis.aggregation import (
    add_api_cost,
    aggregate_metrics,
    build_pairwise_tests,
    load_scores,
    summarize_method,
)
from softprompt.comparison.methods.method_registry import get_method
from softprompt.comparison.report.method_result import ApiUsage, PairwiseTest
from softprompt.comparison.runs.method_runner import MethodRunner, NullRunCallback
from softprompt.comparison.runs.run_plan import plan_runs
from softprompt.comparison.runs.run_store import RunStore
from softprompt.model_api.api_counts import ApiCounts
from tests.comparison.conftest import Settings


def test_aggregated_metrics_have_mean_standard_deviation_and_worst_value() -> None:
    found = aggregate_metrics([{"accuracy": 0.8, "loss": 0.5}, {"accuracy": 0.9, "loss": 0.3}])
    assert found["accuracy"].model_dump(mode="json") == {
        "mean": pytest.approx(0.85),
        "std": pytest.approx(0.0707, abs=1e-4),
        "worst": 0.8,
        "values": [0.8, 0.9],
    }
    assert found["loss"].worst == 0.5  # of losses the largest
    assert aggregate_metrics([{"accuracy": 0.8}])["accuracy"].std is None


def test_the_api_cost_is_computed_from_tokens_and_prices() -> None:
    usage = ApiCounts(requests=4, retries=1, unreadable=0, prompt_tokens=40, completion_tokens=8)
    counts = {
        "num_requests": 4, "num_retries": 1, "num_unreadable": 0, "prompt_tokens": 40, "completion_tokens": 8,
    }  # fmt: skip
    assert add_api_cost(usage, (2.5, 10.0)) == ApiUsage(**counts, cost_usd=(40 * 2.5 + 8 * 10.0) / 1e6)
    assert add_api_cost(usage, None) == ApiUsage(**counts, cost_usd=None)
    assert add_api_cost(replace(usage, prompt_tokens=None), (1.0, 1.0)).cost_usd is None
    assert add_api_cost(None, (1.0, 1.0)) is None


def test_the_summary_of_a_method_contains_the_results_of_all_its_runs(settings: Settings, tmp_path: Path) -> None:
    experiment = Experiment.prepare(
        settings(train_sizes=(4,), sweep={"init": ("text", "random")}, out_of_domain=settings().test)
    )
    method, store = get_method("prompt"), RunStore(tmp_path)
    MethodRunner(experiment, "prompt", method, 3, store, NullRunCallback()).run_missing()
    plan = plan_runs(experiment.settings, "prompt", method)
    found = summarize_method(method, plan, store, experiment, base_loss=5.0)
    assert (found.title, found.kind) == ("prompt tuning", "soft prompt")
    assert len(found.metrics["accuracy"].values) == 2
    assert found.trained_fraction == found.num_trained_parameters / experiment.model.num_parameters
    assert found.forgetting.loss_before == 5.0
    assert found.forgetting.loss_after > 0
    assert found.out_of_domain_metrics == {name: found.metrics[name] for name in ("accuracy", "macro_f1", "loss")}
    assert [trial.learning_rate for trial in found.learning_rates.trials] == pytest.approx(
        [method.get_default_learning_rate(experiment), 3 * method.get_default_learning_rate(experiment)]
    )
    assert {point.seed for point in found.training_curve} == {0, 1}
    assert list(found.metrics_by_train_size) == ["4"]
    assert {name: list(values) for name, values in found.metrics_by_setting.items()} == {"init": ["text", "random"]}
    assert sum(map(sum, found.confusion_matrix)) == 32
    assert found.search_seconds > 2 * found.train_seconds > 0
    assert found.peak_memory_bytes > 0
    assert found.serving["50"].requests_per_second > 0
    assert found.api_usage is None
    assert len(load_scores(plan, store)) == 2


def test_every_pair_of_methods_is_tested() -> None:
    found = build_pairwise_tests({"a": [[1.0] * 50], "b": [[0.0] * 50], "c": [[1.0] * 50]})
    assert set(found["a"]) == {"b", "c"}
    assert found["a"]["b"] == PairwiseTest(difference=1.0, ci_low=1.0, ci_high=1.0, verdict="better")
    assert found["b"]["a"].verdict == "worse"
    assert found["a"]["c"].verdict == "no difference shown"
