"""The schema of report.json, format version 2. The order of the fields is the order of the keys in the file.

Reports of version 1 have other keys: `report_upgrade`. docs/report.schema.json is generated from this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, JsonValue, model_serializer

from softprompt.comparison.report.method_result import MethodEntry, MethodResult
from softprompt.comparison.report.report_part import FiniteNumber, ReportPart


class ModelInfo(ReportPart):
    """The base model.

    Attributes:
        name: name of the model.
        num_parameters: number of parameters.
        fingerprint: hash over samples of the weights.
        precision: data type or quantization of the weights.
    """

    name: str
    num_parameters: int
    fingerprint: str
    precision: str


class TaskInfo(ReportPart):
    """The task.

    Attributes:
        kind: kind of the task, such as `classification`.
        template: text around the fields of an example.
        labels: labels of a classification or tagging task; otherwise empty.
    """

    kind: str
    template: str
    labels: tuple[str, ...]


class SplitMajority(ReportPart):
    """The most frequent label of a split.

    Attributes:
        label: the label.
        share: its share of the examples.
        is_uneven: whether the labels are imbalanced.
    """

    label: str
    share: float
    is_uneven: bool


class SplitInfo(ReportPart):
    """A data split.

    Attributes:
        source: file, folder or dataset of the examples.
        num_examples: number of examples.
        majority: most frequent label, only in classification.
    """

    source: str
    num_examples: int
    majority: SplitMajority | None = None

    @model_serializer(mode="wrap")
    def _omit_missing_majority(self, serialize: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Return the fields without `majority` for a task without labels, as the file has them."""
        fields = serialize(self)
        if self.majority is None:
            del fields["majority"]
        return fields


class DataInfo(ReportPart):
    """The data splits.

    Attributes:
        train: training examples.
        validation: examples that select learning rates and steps.
        test: held-out test examples.
        out_of_domain: examples of the same task from another domain.
        overlap: number of inputs that two splits share, by names such as `training and test`.
    """

    train: SplitInfo
    validation: SplitInfo
    test: SplitInfo
    out_of_domain: SplitInfo | None = None
    overlap: dict[str, int]


class BudgetInfo(ReportPart):
    """The budget of each method.

    Attributes:
        max_steps: steps of each training run; null with a budget in minutes.
        batch_size: examples per step.
        minutes: training time of all methods together; null with a budget in steps.
        num_trials: learning rates that were tried.
        seeds: seeds of the training runs.
    """

    max_steps: int | None
    batch_size: int
    minutes: float | None
    num_trials: int
    seeds: tuple[int, ...]


class Recommendation(ReportPart):
    """The recommendation of a report.

    Attributes:
        method: name of the recommended method; null if all methods failed.
        summary: what to do, in one to three sentences.
        reasons: reasons for the method.
        caveats: what could change the recommendation.
    """

    method: str | None
    summary: str
    reasons: tuple[str, ...]
    caveats: tuple[str, ...]


class ComparisonResults(ReportPart):
    """The results of a comparison: a report without its recommendation.

    Attributes:
        format_version: version of this format.
        command: command line of the comparison.
        settings: settings of the comparison; empty in reports of version 1.
        created_at: time of the report, ISO 8601.
        softprompt_version: version of softprompt.
        machine: processor, number of threads and device.
        elapsed_minutes: duration of the comparison; null for a resumed one.
        model: base model.
        task: task.
        data: data splits.
        budget: budget of each method.
        headline_metric: metric that methods are ranked by.
        higher_is_better: whether a larger value of the headline metric is better.
        methods: entry of each method by its name, in the user's order.
    """

    format_version: Literal[2] = 2
    command: str
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    created_at: str
    softprompt_version: str
    machine: str
    elapsed_minutes: FiniteNumber
    model: ModelInfo
    task: TaskInfo
    data: DataInfo
    budget: BudgetInfo
    headline_metric: str
    higher_is_better: bool
    methods: dict[str, MethodEntry]

    @cached_property
    def results(self) -> Mapping[str, MethodResult]:
        """The results of the methods that completed, by name."""
        return {name: entry for name, entry in self.methods.items() if isinstance(entry, MethodResult)}


class Report(ComparisonResults):
    """The results of a comparison, with a recommendation.

    Attributes:
        recommendation: recommended method and reasons.
    """

    recommendation: Recommendation
