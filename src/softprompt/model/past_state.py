"""`PastState`: what precedes the tokens of a batch in a causal model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.cache_utils import Cache

from softprompt.model.hooks.cache_layers import PromptedDynamicCache, make_growing_cache, make_read_only_cache
from softprompt.model.payload import FrozenPrefix
from softprompt.model.payload_batch import BatchPayloads, batch_prefixes, stack_virtual_tokens


@dataclass(frozen=True)
class PastState:
    """The KV cache, mask and virtual-token embeddings that precede a batch, for layers `first_layer` and above.

    Attributes:
        kv_cache: keys and values of S positions; None if there are none.
        attention_mask: `[B, S]`, which cached positions each sequence attends to.
        virtual_embeddings: embeddings `[b, P, H]` of virtual tokens inside the sequences (b is 1 or B), or None.
        first_layer: lowest layer to run; the hidden states below are looked up.
        frozen_prefixes: frozen prefix of each sequence, for the layers below `first_layer`.
    """

    kv_cache: Cache | None
    attention_mask: Bool[Tensor, "B S"]
    virtual_embeddings: Float[Tensor, "b P H"] | None = None
    first_layer: int = 0
    frozen_prefixes: tuple[FrozenPrefix, ...] = ()

    @property
    def lengths(self) -> Int[Tensor, "B"]:
        """Number of cached positions per sequence, which is the position of the next token."""
        return self.attention_mask.sum(dim=1)

    def extend_mask(self, attention_mask: Bool[Tensor, "B T"]) -> PastState:
        """Return the state after tokens with this mask were added to the growing cache."""
        extended = torch.cat([self.attention_mask, attention_mask], dim=1)
        if isinstance(self.kv_cache, PromptedDynamicCache):
            self.kv_cache.attention_mask = extended
        return replace(self, attention_mask=extended, virtual_embeddings=None)


def build_past_state(payloads: BatchPayloads, batch_size: int, device: torch.device, first_layer: int = 0) -> PastState:
    """Build the state that precedes the first token of each sequence, with a read-only cache.

    Args:
        payloads: compiled payloads, of the layers from `first_layer` on.
        batch_size: number of sequences.
        device: device of the model.
        first_layer: lowest layer to run.
    """
    prefix_kv, mask = batch_prefixes(payloads, batch_size, device)
    cache = None if prefix_kv is None else make_read_only_cache(prefix_kv, first_layer)
    return PastState(cache, mask, stack_virtual_tokens(payloads), first_layer)


def build_growing_past_state(
    payloads: BatchPayloads, batch_size: int, device: torch.device, num_layers: int, dtype: torch.dtype
) -> PastState:
    """Build the state that precedes the first token of each sequence, with a cache that grows, as generation needs.

    Args:
        payloads: compiled payloads, of all layers.
        batch_size: number of sequences.
        device: device of the model.
        num_layers: number of layers of the model.
        dtype: precision of the cache.
    """
    prefix_kv, mask = batch_prefixes(payloads, batch_size, device)
    return PastState(make_growing_cache(prefix_kv, mask, num_layers, dtype), mask, stack_virtual_tokens(payloads))
