"""Aggregates finished runs into the report: means over seeds, standard deviations, and significant differences."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from softprompt.comparison.analysis.paired_bootstrap import ScoreDifference, Scores, compare_pairs
from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.methods.adaptation_method import AdaptationMethod
from softprompt.comparison.methods.fitted_model import ServingResult
from softprompt.comparison.report.method_result import (
    ApiUsage,
    CurvePoint,
    Forgetting,
    LearningRateSearch,
    LearningRateTrial,
    MethodResult,
    MetricSummaries,
    MetricSummary,
    PairwiseTest,
    ServingStats,
)
from softprompt.comparison.runs.run_plan import RunSpec
from softprompt.comparison.runs.run_result import MeasuredRun, TrialResult
from softprompt.comparison.runs.run_store import RunStore
from softprompt.model_api.api_counts import ApiCounts


def summarize_method(
    method: AdaptationMethod,
    plan: Sequence[RunSpec],
    store: RunStore,
    experiment: Experiment,
    base_loss: float | None,
    missing_reason: str | None = None,
) -> MethodResult:
    """Return the results of a method, without its steps and pairwise tests.

    Args:
        method: the method.
        plan: planned runs of the method; at least the run of the first seed is finished.
        store: results of the finished runs.
        experiment: what all methods of the comparison share.
        base_loss: loss of the unchanged base model on the reference text.
        missing_reason: why some runs are not finished.
    """
    trials = [trial for run in plan if run.purpose == "trial" and (trial := store.load_trial(run))]
    planned = [(run, store.load_measurement(run)) for run in plan if run.purpose != "trial"]
    finished = [(run, result) for run, result in planned if isinstance(result, MeasuredRun)]
    seeds = [(run, result) for run, result in finished if run.purpose == "seed"]
    results = [result for _, result in seeds]
    first, trainings = results[0], [result.training for result in results if result.training]
    peaks = (*(trial.peak_memory_bytes for trial in trials), *(result.peak_memory_bytes for result in results))
    return MethodResult(
        title=method.title,
        kind=method.kind,
        metrics=aggregate_metrics([result.metrics for result in results]),
        num_trained_parameters=first.num_trained_parameters,
        trained_fraction=first.num_trained_parameters / experiment.model.num_parameters,
        num_request_tokens=first.num_request_tokens,
        stored_bytes_per_task=first.stored_bytes,
        train_seconds=_mean_or_none([training.seconds for training in trainings]),
        search_seconds=_sum_training_seconds(trials, [result for _, result in finished]),
        useful_tokens_per_second=_mean_or_none([training.useful_tokens_per_second for training in trainings]),
        peak_memory_bytes=next(filter(None, peaks), None),
        serving=_summarize_serving(first.serving),
        shares_base_weights=first.shares_base_weights,
        forgetting=_make_forgetting(base_loss, first.reference_loss),
        out_of_domain_metrics=_aggregate_out_of_domain(results),
        learning_rates=_summarize_learning_rates(trials, first.learning_rate),
        training_curve=tuple(point for run, result in seeds for point in _list_curve_points(run.seed, result)),
        metrics_by_train_size=_group_metrics(finished, "size", lambda run: str(run.number)),
        metrics_by_setting=_group_sweeps(finished),
        confusion_matrix=_sum_matrices([result.confusion_matrix for result in results]),
        skipped_runs={
            run.name: missing_reason or "not run" if result is None else result.error
            for run, result in planned
            if not isinstance(result, MeasuredRun)
        },
        api_usage=add_api_cost(first.api_usage, experiment.settings.api_prices),
    )


def add_api_cost(usage: ApiCounts | None, prices: tuple[float, float] | None) -> ApiUsage | None:
    """Return the API usage of a run with its cost in US dollars; None for a method without an API.

    Args:
        usage: requests and tokens of the run.
        prices: US dollars per million prompt tokens and per million completion tokens.
    """
    if usage is None:
        return None
    if prices is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        cost = None
    else:
        cost = (usage.prompt_tokens * prices[0] + usage.completion_tokens * prices[1]) / 1e6
    return ApiUsage(
        num_requests=usage.requests,
        num_retries=usage.retries,
        num_unreadable=usage.unreadable,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=cost,
    )


def build_pairwise_tests(scores: Mapping[str, Scores]) -> dict[str, dict[str, PairwiseTest]]:
    """Return the paired test of every method against every other.

    Args:
        scores: scores of each method, `[S, N]`, by its name.
    """
    pairs = compare_pairs(scores)
    pairs |= {(second, first): difference.opposite for (first, second), difference in pairs.items()}
    return {
        method: {other: _make_pairwise_test(pairs[method, other]) for other in scores if other != method}
        for method in scores
    }


def _make_pairwise_test(test: ScoreDifference) -> PairwiseTest:
    return PairwiseTest(difference=test.difference, ci_low=test.low, ci_high=test.high, verdict=test.verdict)


def load_scores(plan: Sequence[RunSpec], store: RunStore) -> Float[ndarray, "S N"]:
    """Load the scores of a method's seeds on the test examples, with the JSON of one seed in memory at a time."""
    results = (store.load_measurement(run) for run in plan if run.purpose == "seed")
    return np.array([np.asarray(result.scores, dtype=float) for result in results if isinstance(result, MeasuredRun)])


def load_first_metrics(plan: Sequence[RunSpec], store: RunStore) -> Mapping[str, float]:
    """Load the metrics of a method's first seed on the test examples, the headline metric first."""
    first = store.load_measurement(next(run for run in plan if run.purpose == "seed"))
    assert isinstance(first, MeasuredRun)
    return first.metrics


def aggregate_metrics(metrics: Sequence[Mapping[str, float]]) -> MetricSummaries:
    """Return the mean, standard deviation, worst value and values over the seeds of each metric."""
    return {name: _aggregate_values(name, [values[name] for values in metrics]) for name in metrics[0]}


def _aggregate_values(metric: str, values: Sequence[float]) -> MetricSummary:
    return MetricSummary(
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        worst=max(values) if metric in LOWER_IS_BETTER else min(values),
        values=tuple(values),
    )


LOWER_IS_BETTER = ("loss", "perplexity")


def _mean_or_none(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _sum_training_seconds(trials: Sequence[TrialResult], results: Sequence[MeasuredRun]) -> float | None:
    """Return the seconds of all trainings together. Seed 0 continues a trial, so its training is not counted again."""
    seconds = [result.training.seconds for result in results if result.training]
    return sum(trial.seconds for trial in trials if trial.seconds) + sum(seconds[1:]) if seconds else None


def _aggregate_out_of_domain(results: Sequence[MeasuredRun]) -> MetricSummaries | None:
    metrics = [result.out_of_domain_metrics for result in results if result.out_of_domain_metrics is not None]
    return aggregate_metrics(metrics) if metrics else None


def _summarize_serving(results: Mapping[str, ServingResult | None]) -> dict[str, ServingStats | None] | None:
    if not any(results.values()):
        return None
    return {num_tasks: ServingStats(**vars(result)) if result else None for num_tasks, result in results.items()}


def _make_forgetting(before: float | None, after: float | None) -> Forgetting | None:
    return None if before is None or after is None else Forgetting(loss_before=before, loss_after=after)


def _summarize_learning_rates(trials: Sequence[TrialResult], best: float | None) -> LearningRateSearch | None:
    if not trials:
        return None
    return LearningRateSearch(
        best=best,
        trials=tuple(
            LearningRateTrial(learning_rate=trial.learning_rate, metrics=dict(trial.metrics or {})) for trial in trials
        ),
    )


def _list_curve_points(seed: int, result: MeasuredRun) -> list[CurvePoint]:
    return [
        CurvePoint(seed=seed, step=int(point["step"]), metrics={n: v for n, v in point.items() if n != "step"})
        for point in (result.training.training_curve if result.training else ())
    ]


def _group_metrics(
    results: Sequence[tuple[RunSpec, MeasuredRun]], purpose: str, get_key: Callable[[RunSpec], str]
) -> dict[str, MetricSummaries]:
    groups: dict[str, list[Mapping[str, float]]] = {}
    for run, result in results:
        if run.purpose == purpose:
            groups.setdefault(get_key(run), []).append(result.metrics)
    return {key: aggregate_metrics(metrics) for key, metrics in groups.items()}


def _group_sweeps(results: Sequence[tuple[RunSpec, MeasuredRun]]) -> dict[str, dict[str, MetricSummaries]]:
    settings = dict.fromkeys(run.override[0] for run, _ in results if run.override)
    return {
        setting: _group_metrics(
            [(run, result) for run, result in results if run.override and run.override[0] == setting],
            "sweep",
            lambda run: "" if run.override is None else run.override[1],
        )
        for setting in settings
    }


def _sum_matrices(matrices: Sequence[Sequence[Sequence[int]] | None]) -> tuple[tuple[int, ...], ...] | None:
    known = [matrix for matrix in matrices if matrix is not None]
    if not known:
        return None
    return tuple(tuple(map(sum, zip(*rows, strict=True))) for rows in zip(*known, strict=True))
