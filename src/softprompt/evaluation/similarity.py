"""How alike prompts are: which task's prompt another task may start from (SPoT, Vu et al. 2022, arXiv 2110.07904).

Two measures of the paper: the cosine of the prompts' mean virtual tokens, and the mean cosine over all pairs of virtual
tokens. Tasks whose trained prompts are alike tend to help each other; it is a hint where to start, not a proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import SettingError
from softprompt.model import Prefix
from softprompt.saved import SavedPrompt


@dataclass(frozen=True)
class Similarity:
    """Cosines between prompts, `[N][N]`, in the order in which they were given.

    Attributes:
        mean_token: of their mean virtual tokens.
        token_pairs: the mean over all pairs of virtual tokens.
    """

    mean_token: list[list[float]]
    token_pairs: list[list[float]]


def similarity(prompts: Sequence[SavedPrompt]) -> Similarity:
    """Compare prompts of one base model; embeddings by themselves, prefixes by all their keys and values.

    Raises:
        SettingError: fewer than two, or not all embeddings, or not all prefixes, or of several base models.
    """
    if len(prompts) < 2:
        raise SettingError("name at least two prompts to compare")
    if len({prompt.manifest.base.fingerprint for prompt in prompts}) > 1:
        names = ", ".join(dict.fromkeys(prompt.manifest.base.name for prompt in prompts))
        raise SettingError(f"the prompts are of several base models ({names}), whose numbers cannot be compared")
    if len({prompt.manifest.payload for prompt in prompts}) > 1:
        raise SettingError(
            "some of the prompts are embeddings, some prefixes: make them alike with `SavedPrompt.compiled`, "
            "or `softprompt export --format prefix`"
        )
    tokens = [_tokens(prompt) for prompt in prompts]
    means = [torch.nn.functional.normalize(each.mean(dim=0), dim=0) for each in tokens]
    units = [torch.nn.functional.normalize(each, dim=1) for each in tokens]
    return Similarity(
        mean_token=[[float(a @ b) for b in means] for a in means],
        token_pairs=[[float((a @ b.T).mean()) for b in units] for a in units],
    )


def _tokens(prompt: SavedPrompt) -> Float[Tensor, "P _"]:
    payload = prompt.payload
    if isinstance(payload, Prefix):
        return payload.tensor[:, :, :, payload.has_bos :].permute(3, 0, 1, 2, 4).flatten(1)
    return payload.tensor
