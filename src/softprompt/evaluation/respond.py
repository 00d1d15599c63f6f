"""Responses to single texts, streamed."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from softprompt.evaluation.text_generation import check_sampling, stream_text
from softprompt.model import FrozenModel
from softprompt.sampling import SamplingParams
from softprompt.saved import SavedPrompt
from softprompt.saved.objective_check import require_objective
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective

logger = logging.getLogger(__name__)


def respond(
    model: FrozenModel, prompt: SavedPrompt, text: str, sampling: SamplingParams | None = None
) -> Iterator[str]:
    """Generate the response to a text, which fills the template's only field or is the user's message of a chat.

    Args:
        model: base model of the prompt.
        prompt: saved prompt of a generation or chat task.
        text: text to respond to.
        sampling: sampling parameters; greedy by default.

    Returns:
        The chunks of the response, which join to the whole.

    Raises:
        TaskError: the prompt does not generate text.
        SettingError: the sampling parameters leave no space for the text, or request more than text.
        BaseModelMismatch: the prompt belongs to another model.
    """
    sampling = sampling or SamplingParams()
    check_sampling(model, sampling)
    payload = prompt.compile_for(model)
    objective = require_objective(prompt, model, payload, LanguageModelingObjective, "generate text")
    example = objective.encode_prompt(objective.build_example(text), sampling.max_new_tokens)
    if example.is_truncated:
        logger.warning("the text was truncated to leave space for a response of %d tokens", sampling.max_new_tokens)
    return stream_text(objective.model, example, payload, sampling)


class StreamingTrimmer:
    """Trimmer of white space around a streamed response: a template puts a space in front of its answer."""

    def __init__(self) -> None:
        self._has_started = False
        self._pending_whitespace: list[str] = []

    def push_text(self, chunk: str) -> str:
        """Add a chunk, and return the text that is certain: white space is held back until other text follows."""
        remaining = chunk if self._has_started else chunk.lstrip()
        stripped = remaining.rstrip()
        if not stripped:
            self._pending_whitespace += [remaining] if remaining else []
            return ""
        self._has_started, text = True, "".join([*self._pending_whitespace, stripped])
        self._pending_whitespace = [remaining[len(stripped) :]]
        return text
