"""The task of a run, from its settings and examples, and its objective without a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from softprompt.data import Example, ExampleDataset
from softprompt.errors import TaskError
from softprompt.model import FrozenModel
from softprompt.tasks import (
    ChatTask,
    ClassificationTask,
    ExtractiveQATask,
    GenerationTask,
    LinearHead,
    Objective,
    Task,
    TokenClassificationTask,
)
from softprompt.tasks.templates.template import Template
from softprompt.training.shared_settings import SharedSettings

DEFAULT_LABEL_FIELD = SharedSettings.model_fields["label_field"].default


def build_task(settings: SharedSettings, examples: ExampleDataset) -> Task:
    """Build the task that the settings name or the examples' format implies, complete with its labels.

    Raises:
        TaskError, RecordError: If settings and examples do not fit together.
    """
    data_format = examples.mapping.format
    kind = settings.task or _detect_task_kind(settings, data_format.task_kind, examples[0])
    template = settings.template or (data_format.template if data_format.task_kind == kind else None)
    task = TASK_BUILDERS[kind](settings, {} if template is None else {"template": template})
    check_template_fields(task, examples[0])
    return task.prepare(examples)


def _build_classification_task(settings: SharedSettings, template: Mapping[str, Any]) -> Task:
    return ClassificationTask(
        labels=settings.labels or (), words=settings.verbalizer, label_field=settings.label_field, **template
    )


def _build_generation_task(settings: SharedSettings, template: Mapping[str, Any]) -> Task:
    check_no_labels(settings, "a generation")
    return GenerationTask(response_field=settings.response_field, **template)


def _build_chat_task(settings: SharedSettings, template: Mapping[str, Any]) -> Task:
    check_no_labels(settings, "a chat")
    if template:
        raise TaskError("a chat uses the model's chat template: leave `template` out")
    return ChatTask()


def _build_tagging_task(settings: SharedSettings, template: Mapping[str, Any]) -> Task:
    if settings.verbalizer:
        raise TaskError(
            "`verbalizer` is for the classification of whole texts, and a linear head predicts tags: leave it out"
        )
    return TokenClassificationTask(labels=settings.labels or (), **template)


def _build_extraction_task(settings: SharedSettings, template: Mapping[str, Any]) -> Task:
    check_no_labels(settings, "an extraction")
    return ExtractiveQATask(**template)


TASK_BUILDERS: dict[str, Callable[[SharedSettings, Mapping[str, Any]], Task]] = {
    "classification": _build_classification_task,
    "generation": _build_generation_task,
    "chat": _build_chat_task,
    "token-classification": _build_tagging_task,
    "extraction": _build_extraction_task,
}


def check_no_labels(settings: SharedSettings, task_name: str) -> None:
    """Check that settings for a task other than a classification have no labels.

    Args:
        settings: Settings of a run.
        task_name: The task with its article, for the message.

    Raises:
        TaskError: If there are labels or words for them.
    """
    if settings.labels or settings.verbalizer:
        raise TaskError(
            f"`labels` and `verbalizer` are for classification, and this task is {task_name}: leave them out"
        )


def _detect_task_kind(settings: SharedSettings, format_task: str | None, example: Example) -> str:
    """Detect the kind of task from the settings' labels and fields, or else from the format."""
    if format_task == "token-classification":  # in this format `labels` are tags
        return format_task
    if settings.labels or settings.label_field in example.fields.keys() - {DEFAULT_LABEL_FIELD}:
        return "classification"
    if format_task is not None and settings.label_field == DEFAULT_LABEL_FIELD:
        return format_task
    if settings.response_field in example.fields:
        return "generation"
    raise TaskError(
        f"{example.location} has neither a field {settings.label_field!r} nor {settings.response_field!r} "
        f"(its fields are {', '.join(example.fields)}): pass `map`, or `task` with `label_field` or `response_field`"
    )


def check_template_fields(task: Task, example: Example) -> None:
    """Check that an example has the fields of the task's template.

    Raises:
        TaskError: If a field is missing.
    """
    if unknown := [field for field in _get_template_fields(task.template) if field not in example.fields]:
        raise TaskError(
            f"the template has a field {{{unknown[0]}}}, but {example.location} has the fields "
            f"{', '.join(example.fields)}: pass another `template`, or `map={{'{unknown[0]}': 'FIELD'}}`"
        )


@lru_cache(maxsize=8)
def _get_template_fields(template: str) -> tuple[str, ...]:
    return Template(template).field_names


def bind_without_prompt(task: Task, model: FrozenModel) -> Objective:
    """Build the objective of a task without a prompt, to inspect examples; a head is untrained."""
    return task.build_objective(model, model.shape.window, create_untrained_head(task, model))


def create_untrained_head(task: Task, model: FrozenModel) -> LinearHead | None:
    """Create an untrained head for tasks that label tokens inside the text; None for other tasks."""
    if not isinstance(task, TokenClassificationTask | ExtractiveQATask):
        return None
    return LinearHead(len(task.labels), model.shape.hidden_size).to(model.device)
