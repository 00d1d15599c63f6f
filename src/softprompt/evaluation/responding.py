"""A response to a text, in pieces as it is written."""

from __future__ import annotations

from collections.abc import Iterator

from softprompt.data import Example
from softprompt.errors import TaskError
from softprompt.evaluation.generating import Sampling, stream
from softprompt.evaluation.predicting import only_field
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.tasks.generation import GenerationObjective


def respond(model: FrozenModel, prompt: SavedPrompt, text: str, sampling: Sampling | None = None) -> Iterator[str]:
    """The response to a text that fills the template's only field; the pieces join to the whole.

    Raises:
        TaskError: the prompt chooses among labels instead of writing.
        SettingError: the sampling cannot be, or leaves no room for the text.
        WrongBaseModel: the prompt is for another model.
    """
    sampling = sampling or Sampling()
    payload = prompt.bound(model)
    objective = prompt.objective(model, payload)
    if not isinstance(objective, GenerationObjective):
        raise TaskError("this prompt chooses among labels and writes no response: use softprompt classify")
    example = Example({only_field(objective.template): text}, "the text")
    return stream(model, objective.encode_prompt(example, sampling.max_new_tokens), payload, sampling)
