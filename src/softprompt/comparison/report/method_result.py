"""The entry of a method in report.json: its results, or why it failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, model_serializer

from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.report.report_part import FiniteNumber, JsonFloat, ReportPart

Verdict = Literal["better", "worse", "no difference shown"]
"""The verdict of a paired test."""


class MetricSummary(ReportPart):
    """A metric over the seeds of a method.

    Attributes:
        mean: mean over the seeds.
        std: standard deviation over the seeds; null for a single seed.
        worst: value of the worst seed.
        values: value of each seed.
    """

    mean: FiniteNumber
    std: FiniteNumber
    worst: FiniteNumber
    values: tuple[FiniteNumber, ...]


MetricSummaries = dict[str, MetricSummary]
"""Metrics by name, the headline metric first."""


class ServingStats(ReportPart):
    """Latency and throughput of concurrent requests.

    Attributes:
        latency_seconds: mean seconds until a request is answered.
        requests_per_second: answered requests per second.
        tokens_per_second: prompt and completion tokens per second.
    """

    latency_seconds: FiniteNumber
    requests_per_second: FiniteNumber
    tokens_per_second: FiniteNumber = None


class Forgetting(ReportPart):
    """Loss per token on a reference text that is unrelated to the task.

    Attributes:
        loss_before: loss of the base model.
        loss_after: loss of the adapted model.
    """

    loss_before: FiniteNumber
    loss_after: FiniteNumber


class LearningRateTrial(ReportPart):
    """A short training run that tried a learning rate.

    Attributes:
        learning_rate: learning rate of the run.
        metrics: metrics on the validation examples; empty if the loss diverged.
    """

    learning_rate: float
    metrics: dict[str, FiniteNumber]


class LearningRateSearch(ReportPart):
    """The learning rate search of a method.

    Attributes:
        best: learning rate that was selected on the validation examples.
        trials: all learning rates that were tried.
    """

    best: float | None
    trials: tuple[LearningRateTrial, ...]


class CurvePoint(ReportPart):
    """An evaluation during training.

    Attributes:
        seed: seed of the training run.
        step: number of steps before the evaluation.
        metrics: metrics on the validation examples.
    """

    seed: int
    step: int
    metrics: dict[str, FiniteNumber]


class ApiUsage(ReportPart):
    """Requests and tokens of an API.

    Attributes:
        num_requests: different texts that were answered.
        num_retries: repeated requests.
        num_unreadable: replies that name no label, or are empty.
        prompt_tokens: prompt tokens; null if the API does not report them.
        completion_tokens: completion tokens; null if the API does not report them.
        cost_usd: US dollars; null without prices or token counts.
    """

    num_requests: int
    num_retries: int
    num_unreadable: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: FiniteNumber


class PairwiseTest(ReportPart):
    """The paired bootstrap test of a method against another.

    Attributes:
        difference: mean score of the method minus that of the other; positive is better.
        ci_low: lower bound of the 95% confidence interval.
        ci_high: upper bound of the 95% confidence interval.
        verdict: whether the method is better, worse, or neither is shown.
    """

    difference: JsonFloat
    ci_low: JsonFloat
    ci_high: JsonFloat
    verdict: Verdict


class MethodFailure(ReportPart):
    """A method without results.

    Attributes:
        title: title of the method.
        kind: what the method changes.
        status: `failed`.
        error: why the method failed.
    """

    title: str
    kind: MethodKind
    status: Literal["failed"] = "failed"
    error: str


class MethodResult(ReportPart):
    """The results of a method.

    Attributes:
        title: title of the method.
        kind: what the method changes.
        status: `completed`.
        metrics: metrics on the test set.
        num_trained_parameters: number of trained parameters.
        trained_fraction: trained parameters per parameter of the base model.
        num_request_tokens: number of tokens that each request repeats before its input, without the template; null if
            it is not known.
        stored_bytes_per_task: bytes to store for each task besides the base model.
        train_seconds: mean seconds of the steps of one training run.
        search_seconds: seconds of the steps of all training runs, with the learning rate search.
        useful_tokens_per_second: training throughput in tokens that are neither padding nor virtual.
        peak_memory_bytes: peak memory of the process, or of the accelerator.
        serving: latency and throughput by the number of tasks that are served at once; null if it was not measured.
        shares_base_weights: whether the unchanged base model can answer other texts from the same copy of the weights.
        forgetting: loss on unrelated text before and after; null for a model that is not causal.
        out_of_domain_metrics: metrics on the out-of-domain examples.
        learning_rates: learning rate search; null for a method that is not trained.
        training_curve: evaluations during training, of all seeds.
        metrics_by_train_size: metrics on the test set by the number of training examples.
        metrics_by_setting: metrics on the test set by the name and the value of a swept setting.
        confusion_matrix: counts by right label (row) and predicted label (column), over all seeds.
        skipped_runs: runs that failed although the method was measured, each with the reason.
        api_usage: requests and tokens of an API; null without an API.
        steps: number of steps of each training run.
        pairwise_tests: paired tests against each other method.
    """

    title: str
    kind: MethodKind
    status: Literal["completed"] = "completed"
    metrics: MetricSummaries
    num_trained_parameters: int
    trained_fraction: float
    num_request_tokens: int | None = None
    stored_bytes_per_task: int
    train_seconds: FiniteNumber = None
    search_seconds: FiniteNumber = None
    useful_tokens_per_second: FiniteNumber = None
    peak_memory_bytes: int | None = None
    serving: dict[str, ServingStats | None] | None = None
    shares_base_weights: bool
    forgetting: Forgetting | None = None
    out_of_domain_metrics: MetricSummaries | None = None
    learning_rates: LearningRateSearch | None = None
    training_curve: tuple[CurvePoint, ...] = ()
    metrics_by_train_size: dict[str, MetricSummaries] = Field(default_factory=dict)
    metrics_by_setting: dict[str, dict[str, MetricSummaries]] = Field(default_factory=dict)
    confusion_matrix: tuple[tuple[int, ...], ...] | None = None
    skipped_runs: dict[str, str] = Field(default_factory=dict)
    api_usage: ApiUsage | None = None
    steps: int = 0
    pairwise_tests: dict[str, PairwiseTest] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _omit_unknown_request_tokens(self, serialize: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Return the fields without `num_request_tokens` if it is not known, as files of earlier versions have them."""
        fields = serialize(self)
        if self.num_request_tokens is None:
            del fields["num_request_tokens"]
        return fields


MethodEntry = Annotated[MethodResult | MethodFailure, Field(discriminator="status")]
"""The entry of a method in a report."""
