"""Extraction of the part of a context that answers a question."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.data.formats.squad_fields import CONTEXT_FIELD, QUESTION_FIELD
from softprompt.errors import TaskError
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.saved.objective_check import require_objective
from softprompt.tasks.encoded_example import get_alignment
from softprompt.tasks.extractive_qa_task import ExtractiveQAObjective

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractedAnswer:
    """Most probable answer.

    Attributes:
        answer: text of the answer, as in the context.
        start, end: character offsets of the answer in the context; `end` is exclusive.
        probability: probability of the start times that of the end.
    """

    answer: str
    start: int
    end: int
    probability: float


def extract(model: FrozenModel, prompt: SavedPrompt, question: str, context: str) -> ExtractedAnswer:
    """Return the part of a context that answers a question; both fill the template's fields of these names.

    Raises:
        TaskError: the prompt does not extract answers, or the template has other fields.
        RecordError: the question leaves no space for the context.
        BaseModelMismatch: the prompt belongs to another model.
    """
    payload = prompt.compile_for(model)
    objective = require_objective(prompt, model, payload, ExtractiveQAObjective, "extract answers")
    if other_fields := [
        field for field in objective.template.field_names if field not in (QUESTION_FIELD, CONTEXT_FIELD)
    ]:
        raise TaskError(
            f"the template needs the field {{{other_fields[0]}}}, but only a question and a context are given"
        )
    example = objective.encode_question(Example({QUESTION_FIELD: question, CONTEXT_FIELD: context}, "the text"))
    if example.is_truncated:
        logger.warning("the context was truncated to the model's maximum length")
    first, last, log_probability, _ = collect_outputs(objective, payload, [example])[0]
    start, end = get_alignment(example).get_char_span(int(first), int(last))
    return ExtractedAnswer(context[start:end], start, end, float(log_probability.exp()))
