"""Queries of reference texts behind a context, which stand for what later inputs read from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from softprompt.model import CausalModel, KVPrefix
from softprompt.tasks.length_buckets import bucket_by_length

CHUNK_LENGTH = 32  # tokens: short, because inputs directly follow the context
MAX_BATCH_SIZE = 8  # the context's keys and values are copied for each sequence of a forward pass


def split_into_chunks(token_ids: Sequence[int], max_length: int = CHUNK_LENGTH) -> list[list[int]]:
    """Split a text into chunks that serve as its own reference texts, if nothing is known about later inputs.

    Args:
        token_ids: token ids of the text.
        max_length: positions that the window has behind the context, at least 1.
    """
    length = min(CHUNK_LENGTH, max_length)
    return [list(token_ids[start : start + length]) for start in range(0, len(token_ids), length)]


@torch.no_grad()
def compute_reference_queries(
    model: CausalModel, context: KVPrefix, reference_texts: Sequence[Sequence[int]]
) -> Float[Tensor, "L A n D"]:
    """Compute the queries of all tokens of the reference texts, each of which directly follows the context.

    Args:
        model: model that computed the context.
        context: complete prefix of the text to compress.
        reference_texts: token ids of at least one text, without BOS if the context has it; none is empty.

    Raises:
        SettingError: the queries of this family cannot be recorded.
    """
    buckets = bucket_by_length([len(text) for text in reference_texts], model, MAX_BATCH_SIZE)
    return torch.cat(
        [_compute_bucket_queries(model, context, [reference_texts[index] for index in bucket]) for bucket in buckets],
        dim=2,
    )


def _compute_bucket_queries(
    model: CausalModel, context: KVPrefix, texts: Sequence[Sequence[int]]
) -> Float[Tensor, "L A n D"]:
    ids = pad_sequence([torch.tensor(list(text), device=model.device) for text in texts], batch_first=True)
    mask = pad_sequence([torch.ones(len(text), device=model.device) for text in texts], batch_first=True).bool()
    return model.compute_queries(ids, mask, context)
