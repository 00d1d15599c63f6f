"""Labels for texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.errors import TaskError
from softprompt.evaluation.measuring import row_outputs
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.template import Template

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """A text's most probable label, and the probability of each."""

    text: str
    label: str
    probabilities: dict[str, float]


def classify(model: FrozenModel, prompt: SavedPrompt, texts: Sequence[str]) -> list[Prediction]:
    """The labels of texts; each fills the template's only field.

    Raises:
        TaskError: the prompt does not classify, or its template has several fields.
        WrongBaseModel: the prompt is for another model.
    """
    payload = prompt.bound(model)
    objective = prompt.objective(model, payload)
    if not isinstance(objective, ClassificationObjective):
        raise TaskError("this prompt writes responses and knows no labels: use softprompt generate")
    if not texts:
        return []
    field = only_field(objective.template)
    rows = [objective.encode_text(Example({field: text}, f"text {i}")) for i, text in enumerate(texts, start=1)]
    if cut := sum(row.cut for row in rows):
        logger.warning("%d of %d texts were cut to fit the model's window", cut, len(rows))
    probabilities = row_outputs(objective, payload, rows).exp().tolist()
    labels = objective.task.labels
    return [
        Prediction(text, labels[max(range(len(row)), key=row.__getitem__)], dict(zip(labels, row, strict=True)))
        for text, row in zip(texts, probabilities, strict=True)
    ]


def only_field(template: Template) -> str:
    """The name of a template's only field.

    Raises:
        TaskError: it has several, so that one text does not fill it.
    """
    if len(template.fields) != 1:
        raise TaskError(f"the template has the fields {', '.join(template.fields)}: one text cannot fill them")
    return template.fields[0]
