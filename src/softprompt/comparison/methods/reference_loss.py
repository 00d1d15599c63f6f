"""The loss on texts unrelated to the task, which shows what an adapted model forgets."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from softprompt.evaluation.batch_inference import compute_metrics
from softprompt.model import CausalModel, FrozenModel, Payload
from softprompt.tasks import EncodedExample, GenerationTask, ResponseTarget

REFERENCE_TEXT_TOKENS = 256


@torch.no_grad()
def compute_reference_loss(model: FrozenModel, payload: Payload | None, texts: Sequence[str]) -> float | None:
    """Return the loss per token of texts after a compiled payload, each truncated; None if the model is not causal."""
    if not isinstance(model, CausalModel):
        return None
    max_length = model.shape.window - (0 if payload is None else payload.num_positions)
    num_tokens = min(REFERENCE_TEXT_TOKENS, max_length)
    tokenizer = model.prompt_tokenizer
    token_ids = [
        tokenizer.add_special_tokens(tokenizer.tokenize(text, split_special_tokens=True))[:num_tokens] for text in texts
    ]
    examples = [EncodedExample(ids[:1], ResponseTarget.from_tokens(ids[1:])) for ids in token_ids if len(ids) > 1]
    if not examples:
        return None
    return compute_metrics(GenerationTask().build_objective(model, max_length), payload, examples)["loss"]
