"""The part of a text that answers a question."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.data.answers import CONTEXT, QUESTION
from softprompt.errors import TaskError
from softprompt.evaluation.measuring import row_outputs
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.tasks.extraction import ExtractionObjective
from softprompt.tasks.task import ASKED_WITH

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """The most probable answer.

    Attributes:
        answer: as the context writes it.
        start, end: from which of the context's characters to which, the latter not included.
        probability: that it begins where it does, times that it ends there.
    """

    answer: str
    start: int
    end: int
    probability: float


def extract(model: FrozenModel, prompt: SavedPrompt, question: str, context: str) -> Extraction:
    """The part of a context that answers a question; they fill the template's fields of these names.

    Raises:
        TaskError: the prompt does not extract, or the template has other fields.
        RowError: the question leaves no room for the context.
        WrongBaseModel: the prompt is for another model.
    """
    payload = prompt.bound(model)
    objective = prompt.objective(model, payload)
    if not isinstance(objective, ExtractionObjective):
        raise TaskError(f"this prompt extracts no answers: use softprompt {ASKED_WITH[prompt.manifest.task.kind]}")
    if others := [field for field in objective.template.fields if field not in (QUESTION, CONTEXT)]:
        raise TaskError(f"the template asks for {{{others[0]}}}: a question and a context cannot fill it")
    row = objective.encode_question(Example({QUESTION: question, CONTEXT: context}, "the text"))
    if row.cut:
        logger.warning("the context was cut to fit the model's window")
    first, last, log_probability, _ = row_outputs(objective, payload, [row])[0]
    assert row.passage is not None
    start, end = row.passage.said(int(first), int(last))
    return Extraction(context[start:end], start, end, float(log_probability.exp()))
