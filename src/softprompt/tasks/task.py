"""The union of all tasks, distinguished by `kind` in the manifest of a saved prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from softprompt.errors import TaskError
from softprompt.tasks.chat_task import ChatTask
from softprompt.tasks.classification_task import ClassificationTask
from softprompt.tasks.extractive_qa_task import ExtractiveQATask
from softprompt.tasks.generation_task import GenerationTask
from softprompt.tasks.templates.template import Template
from softprompt.tasks.token_classification_task import TokenClassificationTask

Task = Annotated[
    ClassificationTask | GenerationTask | ChatTask | TokenClassificationTask | ExtractiveQATask,
    Field(discriminator="kind"),
]

#: The CLI command that runs a prompt, by kind of task.
COMMAND_BY_TASK_KIND = {
    "classification": "classify",
    "generation": "generate",
    "chat": "generate",
    "token-classification": "tag",
    "extraction": "extract",
}


def infer_task(
    template: str | None = None, labels: Sequence[str] = (), verbalizer: Mapping[str, str] | None = None
) -> Task:
    """Return the task of a prompt that comes without one: classification if labels are given, else generation.

    Args:
        template: text of the template; None for the default of the task.
        labels: labels of a classification.
        verbalizer: words by label, where they differ from the label.

    Raises:
        TaskError: the template is invalid, or labels and verbalizer do not match.
    """
    template_fields: dict[str, Any] = {} if template is None else {"template": Template(template).text}
    if not labels and verbalizer:
        raise TaskError("`verbalizer` requires `labels`: pass the labels as well")
    if not labels:
        return GenerationTask(**template_fields)
    task = ClassificationTask(labels=tuple(labels), words=verbalizer or {}, **template_fields).strip_labels()
    task.check_labels(set(task.labels))
    return task
