"""A response to a text, in pieces as it is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from softprompt.errors import TaskError
from softprompt.evaluation.generating import Sampling, stream
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.tasks.task import ASKED_WITH
from softprompt.tasks.writing import WritingObjective

logger = logging.getLogger(__name__)


def respond(model: FrozenModel, prompt: SavedPrompt, text: str, sampling: Sampling | None = None) -> Iterator[str]:
    """The response to a text: the template's only field, or the user's message in a chat. The pieces join to the whole.

    Raises:
        TaskError: the prompt chooses among labels instead of writing.
        SettingError: the sampling cannot be, or leaves no room for the text.
        WrongBaseModel: the prompt is for another model.
    """
    sampling = sampling or Sampling()
    payload = prompt.bound(model)
    objective = prompt.objective(model, payload)
    if not isinstance(objective, WritingObjective):
        command = ASKED_WITH[prompt.manifest.task.kind]
        raise TaskError(f"this prompt writes no response: use softprompt {command}")
    row = objective.encode_prompt(objective.asked(text), sampling.max_new_tokens)
    if row.cut:
        logger.warning("the text was cut to fit the model's window beside a response of %d", sampling.max_new_tokens)
    return stream(objective.model, row, payload, sampling)


class Trimmed:
    """A response without white space around it, as it is written: a template puts a space in front of its answer."""

    def __init__(self) -> None:
        self._has_begun = False
        self._held: list[str] = []  # white space

    def add(self, piece: str) -> str:
        """What is certain now: white space is held back until something follows it."""
        begun = piece if self._has_begun else piece.lstrip()
        written = begun.rstrip()
        if not written:
            self._held += [begun] if begun else []
            return ""
        self._has_begun, text = True, "".join([*self._held, written])
        self._held = [begun[len(written) :]]
        return text
