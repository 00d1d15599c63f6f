"""Every task there is, as a saved prompt's manifest names it by its `kind`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from softprompt.tasks.classification import ClassificationTask
from softprompt.tasks.generation import GenerationTask

Task = Annotated[ClassificationTask | GenerationTask, Field(discriminator="kind")]


def described(
    template: str | None = None, labels: Sequence[str] = (), verbalizer: Mapping[str, str] | None = None
) -> Task:
    """The task of a prompt that comes without one: a classification if there are labels, else a generation."""
    given: dict[str, Any] = {} if template is None else {"template": template}
    if labels:
        return ClassificationTask(labels=tuple(labels), words=verbalizer or {}, **given)
    return GenerationTask(**given)
