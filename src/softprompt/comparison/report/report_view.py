"""A report with the questions that its recommendation, its plots and its page ask. This module writes no prose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

#: The verdicts of a paired test, as report.json has them.
BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"

#: With more methods than this, plots and wide tables name only some of them.
MAX_NAMED_METHODS = 12

JsonObject = Mapping[str, Any]


@dataclass(frozen=True)
class ReportView:
    """A view of a report.

    Attributes:
        report: contents of report.json without NaN and infinities (`replace_non_finite`).
    """

    report: JsonObject

    @property
    def metric(self) -> str:
        """The headline metric."""
        return str(self.report["headline_metric"])

    @property
    def methods(self) -> JsonObject:
        """All methods by name, in the user's order."""
        methods: JsonObject = self.report["methods"]
        return methods

    @cached_property
    def scored_methods(self) -> list[str]:
        """The methods that did not fail and have the headline metric."""
        return [
            name
            for name, entry in self.methods.items()
            if "error" not in entry and self._get_headline_mean(entry) is not None
        ]

    @property
    def failed_methods(self) -> list[str]:
        """The methods that failed, or whose headline metric is not a finite number."""
        measured = {name for name, entry in self.methods.items() if "error" not in entry and self.get_metrics(name)}
        return [
            name
            for name in self.methods
            if name not in self.scored_methods and (self.metric in self._get_summaries(name) or name not in measured)
        ]

    @property
    def incomparable_methods(self) -> list[str]:
        """The methods that were measured, but without the headline metric: an API returns no probabilities."""
        return [name for name in self.methods if name not in self.scored_methods and name not in self.failed_methods]

    def get_metrics(self, name: str) -> dict[str, float]:
        """Return the mean of every metric of a method."""
        means = {metric: summary["mean"] for metric, summary in self._get_summaries(name).items()}
        return {metric: float(mean) for metric, mean in means.items() if mean is not None}

    @property
    def skipped_runs(self) -> dict[str, list[str]]:
        """The runs that failed although their method was measured, by the reason."""
        by_reason: dict[str, list[str]] = {}
        for entry in self.methods.values():
            for run_name, reason in (entry.get("skipped_runs") or {}).items():
                by_reason.setdefault(str(reason), []).append(run_name)
        return by_reason

    @property
    def num_seeds(self) -> int:
        """Number of times each method was trained."""
        return len(self.report["budget"]["seeds"])

    def _get_summaries(self, name: str) -> JsonObject:
        return self.methods[name].get("metrics") or {}

    def _get_headline_mean(self, entry: JsonObject) -> Any:
        return ((entry.get("metrics") or {}).get(self.metric) or {}).get("mean")

    def get_title(self, name: str) -> str:
        """Return the title of a method."""
        return str(self.methods[name]["title"]).strip()

    def get_score(self, name: str) -> JsonObject:
        """Return the headline metric of a method: its mean, standard deviation, worst seed and values."""
        score: JsonObject = self._get_summaries(name)[self.metric]
        return score

    def get_mean(self, name: str) -> float:
        """Return the mean of the headline metric of a method."""
        return float(self.get_score(name)["mean"])

    def to_gain(self, value: int | float) -> float:
        """Return a value of the headline metric with its sign set so that larger is better."""
        return float(value if self.report["higher_is_better"] else -value)

    def get_pairwise_test(self, method: str, other: str) -> JsonObject:
        """Return the paired test of a method against another; empty if there was none."""
        return (self.methods[method].get("pairwise_tests") or {}).get(other) or {}

    def is_significantly_better(self, method: str, other: str) -> bool:
        """Return whether the paired test shows a method to be better than another."""
        return BETTER in (
            self.get_pairwise_test(method, other).get("verdict"),
            _mirror_verdict(self.get_pairwise_test(other, method).get("verdict")),
        )

    @cached_property
    def best_method(self) -> str:
        """The method with the best mean; the first one of equals."""
        return max(self.scored_methods, key=lambda name: self.to_gain(self.get_mean(name)))

    @cached_property
    def baseline_method(self) -> str | None:
        """The method that training has to beat: the hard prompt, or else the first prompting method."""
        prompting = [name for name in self.scored_methods if self.methods[name]["kind"] == "prompting"]
        return "hard" if "hard" in prompting else next(iter(prompting), None)

    @cached_property
    def tied_methods(self) -> list[str]:
        """The best method, and the methods that the test does not show to be worse."""
        verdicts = {name: self.get_pairwise_test(self.best_method, name).get("verdict") for name in self.scored_methods}
        return [
            name for name in self.scored_methods if name == self.best_method or verdicts[name] in (NO_DIFFERENCE, WORSE)
        ]

    @cached_property
    def highlighted_methods(self) -> list[str]:
        """The scored methods that plots and wide tables name, in the user's order.

        Among many methods these are the recommended one, the baseline, and then those with the best means.
        """
        recommended = (self.report.get("recommendation") or {}).get("method")
        by_mean = sorted(self.scored_methods, key=lambda name: -self.to_gain(self.get_mean(name)))
        first = [name for name in (recommended, self.baseline_method, *by_mean) if name in self.scored_methods]
        chosen = set(list(dict.fromkeys(first))[:MAX_NAMED_METHODS])
        return [name for name in self.scored_methods if name in chosen]

    def get_requests_per_second(self, name: str, num_tasks: int) -> float | None:
        """Return the throughput of a method with `num_tasks` tasks served at once; None if it was not measured."""
        result = (self.methods[name].get("serving") or {}).get(str(num_tasks)) or {}
        rate = result.get("requests_per_second")
        return None if rate is None else float(rate)


def replace_non_finite(value: Any) -> Any:
    """Return a report with None in place of NaN and infinities, which JSON lacks and plots cannot show."""
    if isinstance(value, Mapping):
        return {str(name): replace_non_finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_non_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mirror_verdict(verdict: str | None) -> str | None:
    return {BETTER: WORSE, WORSE: BETTER}.get(verdict or "", verdict)
