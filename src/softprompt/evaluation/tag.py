"""Token classification: tags of words."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.errors import SettingError
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.saved.objective_check import require_objective
from softprompt.tasks.token_classification_task import TokenClassificationObjective

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaggedWords:
    """Words, the most probable tag of each, and the probability of every tag.

    A word that was truncated, or that has no token, has the tag None and no probabilities.
    """

    words: list[str]
    tags: list[str | None]
    probabilities: list[dict[str, float]]


def tag(model: FrozenModel, prompt: SavedPrompt, words: Sequence[str] | str) -> TaggedWords:
    """Predict the tags of words, which fill the template's only field. A string is split at white space.

    Raises:
        TaskError: the prompt does not tag words, or the template has several fields.
        SettingError: there are no words.
        BaseModelMismatch: the prompt belongs to another model.
    """
    words = words.split() if isinstance(words, str) else list(words)
    payload = prompt.compile_for(model)
    objective = require_objective(prompt, model, payload, TokenClassificationObjective, "tag words")
    if not words:
        raise SettingError("there are no words to tag: pass at least one")
    example = objective.encode_words(Example({objective.template.get_single_field(): words}, "the text"))
    if example.is_truncated:
        logger.warning("the text was truncated to the model's maximum length")
    log_probs = objective.split_by_word(collect_outputs(objective, payload, [example])[0], example)
    word_probs = [[] if word_log_probs is None else word_log_probs.exp().tolist() for word_log_probs in log_probs]
    probabilities = [dict(zip(objective.task.labels, tag_probs, strict=bool(tag_probs))) for tag_probs in word_probs]
    return TaggedWords(
        words, [max(tag_probs, key=tag_probs.__getitem__, default=None) for tag_probs in probabilities], probabilities
    )
