"""Embeddings of a whole model input, a text with its virtual tokens, for engines that accept prompt embeddings.

Virtual tokens are at the positions of the prompt's placement: before the text, after it, or within. An engine that
takes this input needs no support for soft prompts.
"""

from __future__ import annotations

import logging

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import PeftExportError
from softprompt.model import CausalModel, FrozenModel, PromptEmbeddings
from softprompt.saved.objective_check import require_objective
from softprompt.saved.saved_prompt import SavedPrompt
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective

logger = logging.getLogger(__name__)


def build_prompt_embeds(
    prompt: SavedPrompt, model: FrozenModel, text: str, max_new_tokens: int = 128
) -> Float[Tensor, "T H"]:
    """Build the embeddings of the input for a response, including virtual tokens, in the model's precision.

    Args:
        prompt: a saved prompt whose payload is prompt embeddings.
        model: the base model of the prompt.
        text: value of the template's only field, or the user's message in a chat.
        max_new_tokens: number of tokens of the response for which the model's window must leave space.

    Raises:
        PeftExportError: the payload is a KV prefix, or the model is not causal.
        TaskError: the prompt does not generate responses.
        SettingError: `max_new_tokens` leaves no space for the text.
        BaseModelMismatch: the prompt was made for another model.
    """
    prompt.check_base_model(model)
    payload = prompt.payload
    if not isinstance(payload, PromptEmbeddings):
        raise PeftExportError(
            "the payload of this prompt is a KV prefix, which cannot be converted to embeddings: use an engine that "
            "accepts a prefix"
        )
    if not isinstance(model, CausalModel):
        raise PeftExportError(f"{model.name} is {model.shape.kind}: only a causal model can continue embeddings")
    objective = require_objective(prompt, model, payload, LanguageModelingObjective, "generate responses")
    example = objective.encode_prompt(objective.build_example(text), max_new_tokens)
    if example.is_truncated:
        logger.warning("the text was truncated to leave space for a response of %d tokens", max_new_tokens)
    ids = torch.tensor([payload.apply_to_prompt(example.prompt_ids)], device=model.device)
    with torch.no_grad():
        return model.embed_tokens(ids, payload.tensor.to(model.device).unsqueeze(0))[0]
