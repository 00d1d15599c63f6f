"""Build the verbalizer of a kind of model from the words of its labels, tokenized as they follow the template."""

from __future__ import annotations

from collections.abc import Sequence

from softprompt.errors import TaskError
from softprompt.model import FrozenModel, MaskedModel
from softprompt.tasks.label_scorers.cloze_verbalizer import ClozeVerbalizer
from softprompt.tasks.label_scorers.label_scorer import LabelScorer
from softprompt.tasks.label_scorers.verbalizer import Verbalizer
from softprompt.tasks.label_scorers.verbalizer_checks import check_distinct_tokens
from softprompt.tasks.templates.answer_text import join_answer
from softprompt.tasks.templates.template import Template
from softprompt.tasks.templates.text_truncation import take_last_characters

ANSWER_CONTEXT_CHARS = 1000  # characters before a label that determine its tokenization


def build_verbalizer(model: FrozenModel, template: Template, labels: Sequence[tuple[str, str]]) -> LabelScorer:
    """Build the verbalizer of this kind of model.

    Args:
        model: the frozen base model.
        template: template that the labels' words follow.
        labels: each label with its word.

    Raises:
        TaskError: there are no labels, two have words with the same tokens, or the template lacks the mask that a
            masked model needs.
        IncompleteModel: the model has no LM head.
    """
    model.check_lm_head()
    if not labels:
        raise TaskError("a classification needs labels: pass `labels`")
    template.check_has_mask(model)
    token_ids = encode_answers(model, template, [join_answer(template, word) for _, word in labels])
    check_distinct_tokens(labels, token_ids)
    return (
        ClozeVerbalizer(token_ids, model.prompt_tokenizer.mask_token_id)
        if isinstance(model, MaskedModel)
        else Verbalizer(token_ids, model.eos_token_id)
    )


def encode_answers(model: FrozenModel, template: Template, answers: Sequence[str]) -> list[list[int]]:
    """Return the ids of answers, tokenized after the end of the template."""
    context = take_last_characters(template.text_before_answer.rstrip(" "), ANSWER_CONTEXT_CHARS)
    return model.prompt_tokenizer.encode_answers(context, answers)
