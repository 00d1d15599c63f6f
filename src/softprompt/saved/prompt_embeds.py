"""A text behind a prompt as the embeddings of one whole row: for engines that take embeddings in place of tokens.

Virtual tokens stand in it where the prompt has them: in front of the text, behind it, or within. Whoever runs the row
needs to know nothing of prompts. It does not know what is written behind it.
"""

from __future__ import annotations

import logging

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import NotExpressible, TaskError
from softprompt.model import CausalModel, Embeddings, FrozenModel
from softprompt.saved.saved_prompt import SavedPrompt
from softprompt.tasks.task import ASKED_WITH
from softprompt.tasks.writing import WritingObjective

logger = logging.getLogger(__name__)


def prompt_embeds(
    prompt: SavedPrompt, model: FrozenModel, text: str, max_new_tokens: int = 128
) -> Float[Tensor, "T H"]:
    """What the model sees in front of its response, virtual tokens included, as embeddings in the model's precision.

    Args:
        prompt: one of embeddings.
        model: its base.
        text: fills the template's only field, or is what the user says in a chat.
        max_new_tokens: of a response that is to fit into the model's window behind it.

    Raises:
        NotExpressible: the prompt is keys and values, or the model is not causal.
        TaskError: the prompt writes no response.
        SettingError: so many tokens leave no room for the text.
        WrongBaseModel: the prompt is for another model.
    """
    prompt.check_base(model)
    payload = prompt.payload
    if not isinstance(payload, Embeddings):
        raise NotExpressible(
            "this prompt is the keys and values of its virtual tokens, which no embeddings leave: "
            "an engine must take the prefix itself"
        )
    if not isinstance(model, CausalModel):
        raise NotExpressible(f"{model.name} is {model.shape.kind}: only a causal model goes on behind embeddings")
    objective = prompt.objective(model, payload)
    if not isinstance(objective, WritingObjective):
        command = ASKED_WITH[prompt.manifest.task.kind]
        raise TaskError(f"this prompt writes no response: use softprompt {command}")
    row = objective.encode_prompt(objective.asked(text), max_new_tokens)
    if row.cut:
        logger.warning("the text was cut to fit the model's window beside a response of %d", max_new_tokens)
    ids = torch.tensor([payload.arrange(row.prompt)], device=model.device)
    with torch.no_grad():
        return model.embed(ids, payload.tensor.to(model.device).unsqueeze(0))[0]
