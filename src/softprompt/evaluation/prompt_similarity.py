"""Similarity of prompts: which task's prompt to initialize another task's from.

SPoT (Vu et al. 2022, arXiv 2110.07904) has two measures: the cosine of the prompts' mean virtual tokens, and the mean
cosine of all pairs of virtual tokens. Tasks with similar trained prompts tend to help each other; it is a hint for an
initializer, not a proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import SettingError
from softprompt.model import KVPrefix
from softprompt.saved import SavedPrompt


@dataclass(frozen=True)
class PromptSimilarity:
    """Cosine similarities of prompts, `[N][N]`, in input order.

    Attributes:
        mean_token: cosine of the mean virtual tokens.
        token_pairs: mean cosine of all pairs of virtual tokens.
    """

    mean_token: list[list[float]]
    token_pairs: list[list[float]]


def compute_prompt_similarity(prompts: Sequence[SavedPrompt]) -> PromptSimilarity:
    """Compare prompts of one base model: prompt embeddings as they are, KV prefixes by all their keys and values.

    Raises:
        SettingError: fewer than two prompts, prompts of several base models, or embeddings mixed with prefixes.
    """
    if len(prompts) < 2:
        raise SettingError("similarity needs at least two prompts: pass more")
    if len({prompt.manifest.base.fingerprint for prompt in prompts}) > 1:
        names = ", ".join(dict.fromkeys(prompt.manifest.base.name for prompt in prompts))
        raise SettingError(f"the prompts belong to several base models ({names}): compare prompts of one base model")
    if len({prompt.manifest.payload for prompt in prompts}) > 1:
        raise SettingError(
            "some of the prompts are embeddings, others prefixes: convert the embeddings with `SavedPrompt.to_prefix`, "
            "or `softprompt export --format prefix`"
        )
    vectors = [_virtual_token_vectors(prompt) for prompt in prompts]
    means = [torch.nn.functional.normalize(prompt_vectors.mean(dim=0), dim=0) for prompt_vectors in vectors]
    unit_vectors = [torch.nn.functional.normalize(prompt_vectors, dim=1) for prompt_vectors in vectors]
    return PromptSimilarity(
        mean_token=[[float(a @ b) for b in means] for a in means],
        token_pairs=[[float((a @ b.T).mean()) for b in unit_vectors] for a in unit_vectors],
    )


def _virtual_token_vectors(prompt: SavedPrompt) -> Float[Tensor, "P _"]:
    payload = prompt.payload
    if isinstance(payload, KVPrefix):
        return payload.tensor[:, :, :, payload.has_bos :].permute(3, 0, 1, 2, 4).flatten(1)
    return payload.tensor
