"""Nearest vocabulary tokens of virtual tokens. Often they say little, which is worth knowing.

Lester et al. (2021, section 7) interpret prompts this way; Bailey et al. (2023) warn against overinterpretation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, KVPrefix, PromptEmbeddings
from softprompt.saved import SavedPrompt


@dataclass(frozen=True)
class TokenNeighbors:
    """Nearest tokens of a virtual token, which is counted from 0, with their cosine distances, 0 to 2."""

    virtual_token: int
    tokens: list[str]
    distances: list[float]


def find_nearest_tokens(model: FrozenModel, prompt: SavedPrompt, count: int = 3) -> list[TokenNeighbors]:
    """Find the `count` nearest tokens of each virtual token, nearest first.

    Prompt embeddings are compared with the word embeddings. A KV prefix is compared by the values of the first layer,
    which depend on the token alone (in GPT-2 a little on its position as well).

    Raises:
        SettingError: `count` is below one or above the vocabulary's size.
        BaseModelMismatch: the prompt belongs to another model, with another vocabulary.
    """
    if not 1 <= count <= model.shape.vocab_size:
        raise SettingError(f"`count={count}`: choose 1 to {model.shape.vocab_size:,}, the size of the vocabulary")
    prompt.check_base_model(model)
    match prompt.payload:
        case PromptEmbeddings(tensor=tensor):
            virtual_tokens, vocabulary = tensor, _embed_vocabulary(model)
        case KVPrefix(tensor=tensor, has_bos=has_bos):
            virtual_tokens = tensor[0, 1, :, has_bos:].transpose(0, 1).flatten(1)
            vocabulary = _compute_first_layer_values(model)
    similarity = (
        _normalize_vectors(virtual_tokens.to(vocabulary.device, vocabulary.dtype)) @ _normalize_vectors(vocabulary).T
    )
    nearest = similarity.topk(count, dim=1)
    return [
        TokenNeighbors(
            index,
            [str(model.tokenizer.decode([token_id])) for token_id in token_ids],
            [round(1 - value, 4) for value in similarities],
        )
        for index, (token_ids, similarities) in enumerate(
            zip(nearest.indices.tolist(), nearest.values.tolist(), strict=True)
        )
    ]


def _embed_vocabulary(model: FrozenModel) -> Float[Tensor, "V H"]:
    return model.embed_tokens(torch.arange(model.shape.vocab_size, device=model.device).unsqueeze(0))[0].float()


@torch.no_grad()
def _compute_first_layer_values(model: FrozenModel, chunk_size: int = 1024) -> Float[Tensor, "V _"]:
    """Return the first layer's values of every token by itself, `[V, G·D]`."""
    token_ids = torch.arange(model.shape.vocab_size, device=model.device)
    return torch.cat([model.compute_first_layer_values(chunk) for chunk in token_ids.split(chunk_size)])


def _normalize_vectors(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=1)
