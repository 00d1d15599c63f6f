"""What virtual tokens resemble: the nearest tokens of the vocabulary. Often not much, and that is worth knowing.

Lester et al. (2021, section 7) read prompts this way; Bailey et al. (2023) warn against reading too much into it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import SettingError
from softprompt.model import Embeddings, FrozenModel, Prefix
from softprompt.saved import SavedPrompt


@dataclass(frozen=True)
class Neighbour:
    """A virtual token, counted from 0, and the tokens nearest to it with their cosine distances, 0 to 2."""

    virtual_token: int
    tokens: list[str]
    distances: list[float]


def nearest_tokens(model: FrozenModel, prompt: SavedPrompt, count: int = 3) -> list[Neighbour]:
    """The `count` nearest tokens of each virtual token, nearest first.

    Embeddings are compared with the word embeddings. A prefix is compared by the first layer's values, which depend on
    the token alone (on GPT-2 a little on its place as well).

    Raises:
        SettingError: fewer than one, or more than the vocabulary has.
        WrongBaseModel: the prompt is for another model, whose words these are not.
    """
    if not 1 <= count <= model.shape.vocab_size:
        raise SettingError(f"`count` {count}: choose 1 to {model.shape.vocab_size:,}, the tokens that there are")
    prompt.check_base(model)
    match prompt.payload:
        case Embeddings(tensor=tensor):
            mine, words = tensor, _all_embeddings(model)
        case Prefix(tensor=tensor, has_bos=has_bos):
            mine, words = tensor[0, 1, :, has_bos:].transpose(0, 1).flatten(1), _first_values(model)
    similarity = _unit(mine.to(words.device, words.dtype)) @ _unit(words).T
    best = similarity.topk(count, dim=1)
    return [
        Neighbour(i, [str(model.tokenizer.decode([t])) for t in ids], [round(1 - s, 4) for s in values])
        for i, (ids, values) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    ]


def _all_embeddings(model: FrozenModel) -> Float[Tensor, "V H"]:
    return model.embed(torch.arange(model.shape.vocab_size, device=model.device).unsqueeze(0))[0].float()


@torch.no_grad()
def _first_values(model: FrozenModel, chunk: int = 1024) -> Float[Tensor, "V _"]:
    """The first layer's values of every token, each by itself, `[V, G·D]`."""
    ids = torch.arange(model.shape.vocab_size, device=model.device)
    return torch.cat([model.first_values(some) for some in ids.split(chunk)])


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)
