"""Builds the results of a comparison from those of its methods: adds data, model, task, budget and machine."""

from __future__ import annotations

import platform
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import torch

from softprompt import __version__
from softprompt.comparison.analysis.aggregation import LOWER_IS_BETTER
from softprompt.comparison.experiment.compare_settings import CompareSettings
from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.report.method_result import MethodEntry
from softprompt.comparison.report.report_schema import (
    BudgetInfo,
    ComparisonResults,
    DataInfo,
    ModelInfo,
    SplitInfo,
    SplitMajority,
    TaskInfo,
)
from softprompt.data import ExampleDataset
from softprompt.model import FrozenModel
from softprompt.tasks import ClassificationTask, Task
from softprompt.tasks.metrics.label_metrics import find_majority_label, is_imbalanced


def build_results(
    experiment: Experiment,
    methods: Mapping[str, MethodEntry],
    headline_metric: str,
    command: Sequence[str],
    minutes: float | None,
) -> ComparisonResults:
    """Return the results of a comparison.

    Args:
        experiment: what all methods of the comparison share.
        methods: entry of each method, by its name.
        headline_metric: metric that methods are ranked by.
        command: command line of the comparison.
        minutes: duration of the comparison; None for a resumed one.
    """
    settings, task = experiment.settings, experiment.task
    return ComparisonResults(
        command=shlex.join(command),
        settings=settings.model_dump(mode="json"),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        softprompt_version=__version__,
        machine=f"{platform.machine()}, {torch.get_num_threads()} threads, {experiment.model.device.type}",
        elapsed_minutes=minutes,
        model=_describe_model(experiment.model),
        task=TaskInfo(kind=task.kind, template=task.template, labels=tuple(task.labels)),
        data=_describe_data(experiment),
        budget=_describe_budget(settings),
        headline_metric=headline_metric,
        higher_is_better=headline_metric not in LOWER_IS_BETTER,
        methods=dict(methods),
    )


def _describe_model(model: FrozenModel) -> ModelInfo:
    return ModelInfo(
        name=model.name,
        num_parameters=model.num_parameters,
        fingerprint=model.fingerprint,
        precision=model.precision,
    )


def _describe_data(experiment: Experiment) -> DataInfo:
    out_of_domain = experiment.out_of_domain
    return DataInfo(
        train=_describe_split(experiment.training, experiment.task),
        validation=_describe_split(experiment.validation, experiment.task),
        test=_describe_split(experiment.test, experiment.task),
        out_of_domain=_describe_split(out_of_domain, experiment.task) if out_of_domain else None,
        overlap=experiment.overlap,
    )


def _describe_budget(settings: CompareSettings) -> BudgetInfo:
    return BudgetInfo(
        max_steps=None if settings.budget_minutes else settings.max_steps,
        batch_size=settings.batch_size,
        minutes=settings.budget_minutes,
        num_trials=settings.trials,
        seeds=tuple(range(settings.seeds)),
    )


def _describe_split(examples: ExampleDataset, task: Task) -> SplitInfo:
    majority = _find_majority(examples, task) if isinstance(task, ClassificationTask) else None
    return SplitInfo(source=examples.records.name, num_examples=len(examples), majority=majority)


def _find_majority(examples: ExampleDataset, task: ClassificationTask) -> SplitMajority:
    """Return the most frequent label, its share of the examples, and whether the labels are imbalanced."""
    label, share = find_majority_label(Counter(task.labels[task.get_label_index(example)] for example in examples))
    return SplitMajority(label=label, share=share, is_uneven=is_imbalanced(share, len(task.labels)))
