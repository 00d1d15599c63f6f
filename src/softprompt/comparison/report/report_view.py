"""A view of a report with derived facts for its recommendation, its plots and its page. This module writes no prose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.report.method_result import (
    MethodEntry,
    MethodFailure,
    MethodResult,
    MetricSummary,
    PairwiseTest,
)
from softprompt.comparison.report.report_schema import ComparisonResults, Report

#: With more methods than this, plots and wide tables name only some of them.
MAX_NAMED_METHODS = 12


@dataclass(frozen=True)
class ReportView:
    """A view of a report.

    Attributes:
        report: results of a comparison, with or without a recommendation.
    """

    report: ComparisonResults

    @property
    def metric(self) -> str:
        """The headline metric."""
        return self.report.headline_metric

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of the headline metric is better."""
        return self.report.higher_is_better

    @property
    def methods(self) -> Mapping[str, MethodEntry]:
        """All methods by name, in the user's order."""
        return self.report.methods

    @property
    def results(self) -> Mapping[str, MethodResult]:
        """The results of the methods that completed, by name."""
        return self.report.results

    @cached_property
    def scored_methods(self) -> list[str]:
        """The methods that completed and have the headline metric."""
        return [name for name, result in self.results.items() if self._get_headline_mean(result) is not None]

    @property
    def failed_methods(self) -> list[str]:
        """The methods that failed, or whose headline metric is not a finite number."""
        return [name for name in self.methods if name not in self.scored_methods and not self._is_incomparable(name)]

    @property
    def incomparable_methods(self) -> list[str]:
        """The methods that were measured, but without the headline metric: an API returns no probabilities."""
        return [name for name in self.methods if name not in self.scored_methods and self._is_incomparable(name)]

    def _is_incomparable(self, name: str) -> bool:
        result = self.results.get(name)
        return result is not None and self.metric not in result.metrics and bool(self.get_metrics(name))

    def get_metrics(self, name: str) -> dict[str, float]:
        """Return the mean of every metric of a completed method."""
        return {
            metric: summary.mean for metric, summary in self.results[name].metrics.items() if summary.mean is not None
        }

    def get_error(self, name: str) -> str | None:
        """Return why a method failed; None if it completed without a usable metric."""
        entry = self.methods[name]
        return entry.error if isinstance(entry, MethodFailure) else None

    @property
    def skipped_runs(self) -> dict[str, list[str]]:
        """The runs that failed although their method was measured, by the reason."""
        by_reason: dict[str, list[str]] = {}
        for result in self.results.values():
            for run_name, reason in result.skipped_runs.items():
                by_reason.setdefault(reason, []).append(run_name)
        return by_reason

    @property
    def num_seeds(self) -> int:
        """Number of times each method was trained."""
        return len(self.report.budget.seeds)

    def _get_headline_mean(self, result: MethodResult) -> float | None:
        score = result.metrics.get(self.metric)
        return None if score is None else score.mean

    def get_title(self, name: str) -> str:
        """Return the title of a method."""
        return self.methods[name].title.strip()

    def get_score(self, name: str) -> MetricSummary:
        """Return the headline metric of a scored method."""
        return self.results[name].metrics[self.metric]

    def get_metric_mean(self, name: str) -> float:
        """Return the mean of the headline metric of a scored method."""
        mean = self.get_score(name).mean
        assert mean is not None
        return mean

    def to_gain(self, value: float) -> float:
        """Return a value of the headline metric with its sign set so that larger is better."""
        return value if self.higher_is_better else -value

    def get_pairwise_test(self, method: str, other: str) -> PairwiseTest | None:
        """Return the paired test of a completed method against another; None if there was none."""
        return self.results[method].pairwise_tests.get(other)

    def is_significantly_better(self, method: str, other: str) -> bool:
        """Return whether the paired test shows a method to be better than another."""
        test, mirrored = self.get_pairwise_test(method, other), self.get_pairwise_test(other, method)
        return (test is not None and test.verdict == "better") or (mirrored is not None and mirrored.verdict == "worse")

    @cached_property
    def best_method(self) -> str:
        """The method with the best mean; the first one of equals."""
        return max(self.scored_methods, key=lambda name: self.to_gain(self.get_metric_mean(name)))

    @cached_property
    def baseline_method(self) -> str | None:
        """The method that training has to beat: the hard prompt, or else the first prompting method."""
        prompting = [name for name in self.scored_methods if self.methods[name].kind is MethodKind.PROMPTING]
        return "hard" if "hard" in prompting else next(iter(prompting), None)

    @cached_property
    def tied_methods(self) -> list[str]:
        """The best method, and the methods that the test does not show to be worse."""
        best = self.best_method
        return [name for name in self.scored_methods if name == best or self._is_unbeaten(name, best)]

    def _is_unbeaten(self, name: str, best: str) -> bool:
        test = self.get_pairwise_test(best, name)
        return test is not None and test.verdict != "better"

    @property
    def recommended_method(self) -> str | None:
        """The recommended method, if the report has a recommendation."""
        return self.report.recommendation.method if isinstance(self.report, Report) else None

    @cached_property
    def named_methods(self) -> list[str]:
        """The scored methods that plots and wide tables name, in the user's order.

        Among many methods these are the recommended one, the baseline, and then those with the best means.
        """
        by_mean = sorted(self.scored_methods, key=lambda name: -self.to_gain(self.get_metric_mean(name)))
        first = [n for n in (self.recommended_method, self.baseline_method, *by_mean) if n in self.scored_methods]
        chosen = set(list(dict.fromkeys(first))[:MAX_NAMED_METHODS])
        return [name for name in self.scored_methods if name in chosen]

    @property
    def repeats_tokens(self) -> bool:
        """Whether any completed method repeats tokens in each request, before its input."""
        return any(result.num_request_tokens for result in self.results.values())

    def get_requests_per_second(self, name: str, num_tasks: int) -> float | None:
        """Return the throughput of a method with `num_tasks` tasks served at once; None if it was not measured."""
        stats = (self.results[name].serving or {}).get(str(num_tasks))
        return None if stats is None else stats.requests_per_second
