"""Tags for words."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from softprompt.data import Example
from softprompt.errors import SettingError, TaskError
from softprompt.evaluation.measuring import row_outputs
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.tasks.tagging import TaggingObjective
from softprompt.tasks.task import ASKED_WITH
from softprompt.tasks.template import only_field

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tagging:
    """Words, the most probable tag of each, and the probability of every tag.

    A word that was cut away, or that the tokenizer has no token for, has the tag None and no probabilities.
    """

    words: list[str]
    tags: list[str | None]
    probabilities: list[dict[str, float]]


def tag(model: FrozenModel, prompt: SavedPrompt, words: Sequence[str] | str) -> Tagging:
    """The tags of words, or of a text that white space parts into words; they fill the template's only field.

    Raises:
        TaskError: the prompt does not tag words, or the template has several fields.
        SettingError: there is no word.
        WrongBaseModel: the prompt is for another model.
    """
    words = words.split() if isinstance(words, str) else list(words)
    payload = prompt.bound(model)
    objective = prompt.objective(model, payload)
    if not isinstance(objective, TaggingObjective):
        raise TaskError(f"this prompt tags no words: use softprompt {ASKED_WITH[prompt.manifest.task.kind]}")
    if not words:
        raise SettingError("there is no word to tag")
    row = objective.encode_words(Example({only_field(objective.template): words}, "the text"))
    if row.cut:
        logger.warning("the text was cut to fit the model's window")
    found = objective.by_word(row_outputs(objective, payload, [row])[0], row)
    shares = [[] if word is None else word.exp().tolist() for word in found]
    probabilities = [dict(zip(objective.task.labels, each, strict=bool(each))) for each in shares]
    return Tagging(words, [max(each, key=each.__getitem__, default=None) for each in probabilities], probabilities)
