"""Copies of a model with a tokenizer of their own: tokenizers are not thread-safe."""

from __future__ import annotations

import copy

from softprompt.model import FrozenModel


def with_private_tokenizer(model: FrozenModel) -> FrozenModel:
    """Return a shallow copy of a model with its own tokenizer, for one thread."""
    local_model = copy.copy(model)
    local_model.prompt_tokenizer = model.prompt_tokenizer.clone()
    return local_model
