"""Every task there is, as a saved prompt's manifest names it by its `kind`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from softprompt.errors import TaskError
from softprompt.tasks.chat import ChatTask
from softprompt.tasks.classification import ClassificationTask
from softprompt.tasks.extraction import ExtractionTask
from softprompt.tasks.generation import GenerationTask
from softprompt.tasks.tagging import TaggingTask
from softprompt.tasks.template import Template

Task = Annotated[
    ClassificationTask | GenerationTask | ChatTask | TaggingTask | ExtractionTask, Field(discriminator="kind")
]

#: The command that asks a prompt of each kind of task.
ASKED_WITH = {
    "classification": "classify",
    "generation": "generate",
    "chat": "generate",
    "token-classification": "tag",
    "extraction": "extract",
}


def described(
    template: str | None = None, labels: Sequence[str] = (), verbalizer: Mapping[str, str] | None = None
) -> Task:
    """The task of a prompt that comes without one: a classification if there are labels, else a generation.

    Raises:
        TaskError: the template cannot be read, or labels and verbalizer do not fit together.
    """
    given: dict[str, Any] = {} if template is None else {"template": Template(template).text}
    if not labels and verbalizer:
        raise TaskError("`verbalizer` has words for labels, and there are none: give `labels` as well")
    if not labels:
        return GenerationTask(**given)
    task = ClassificationTask(labels=tuple(labels), words=verbalizer or {}, **given).stripped()
    task.check(set(task.labels))
    return task
