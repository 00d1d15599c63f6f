"""Builds the part of a report that describes the comparison: data, model, task, budget, machine."""

from __future__ import annotations

import platform
import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from softprompt import __version__
from softprompt.comparison.analysis.aggregation import LOWER_IS_BETTER
from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.report.report_upgrade import FORMAT_VERSION
from softprompt.data import ExampleDataset
from softprompt.tasks import ClassificationTask, Task
from softprompt.tasks.metrics.label_metrics import find_majority_label, is_imbalanced


def build_report_metadata(
    experiment: Experiment, command: Sequence[str], minutes: float | None, headline_metric: str
) -> dict[str, Any]:
    """Return the contents of a report except its methods and its recommendation.

    Args:
        experiment: what all methods of the comparison share.
        command: command line of the comparison.
        minutes: duration of the comparison; None for a resumed one.
        headline_metric: metric that methods are ranked by.
    """
    settings, model = experiment.settings, experiment.model
    splits = {"train": experiment.training, "validation": experiment.validation, "test": experiment.test}
    out_of_domain = experiment.out_of_domain and _describe_split(experiment.out_of_domain, experiment.task)
    return {
        "format_version": FORMAT_VERSION,
        "command": shlex.join(command),
        "settings": settings.model_dump(mode="json"),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "softprompt_version": __version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {model.device.type}",
        "elapsed_minutes": minutes,
        "model": {
            "name": model.name,
            "num_parameters": model.num_parameters,
            "fingerprint": model.fingerprint,
            "precision": model.precision,
        },
        "task": {
            "kind": experiment.task.kind,
            "template": experiment.task.template,
            "labels": list(experiment.task.labels),
        },
        "data": {
            **{name: _describe_split(examples, experiment.task) for name, examples in splits.items()},
            "out_of_domain": out_of_domain,
            "overlap": experiment.overlap,
        },
        "budget": {
            "max_steps": None if settings.budget_minutes else settings.max_steps,
            "batch_size": settings.batch_size,
            "minutes": settings.budget_minutes,
            "num_trials": settings.trials,
            "seeds": list(range(settings.seeds)),
        },
        "headline_metric": headline_metric,
        "higher_is_better": headline_metric not in LOWER_IS_BETTER,
    }


def _describe_split(examples: ExampleDataset, task: Task) -> dict[str, Any]:
    split: dict[str, Any] = {"source": examples.records.name, "num_examples": len(examples)}
    if isinstance(task, ClassificationTask):
        split["majority"] = _describe_majority_label(examples, task)
    return split


def _describe_majority_label(examples: ExampleDataset, task: ClassificationTask) -> dict[str, Any]:
    """Return the most frequent label, its share of the examples, and whether the labels are imbalanced."""
    label, share = find_majority_label(Counter(task.labels[task.get_label_index(example)] for example in examples))
    return {"label": label, "share": share, "is_uneven": is_imbalanced(share, len(task.labels))}
