"""KV caches of branches: continuations that read the keys and values of the sequence that they continue."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache

from softprompt.model.hooks.cache_layers import ReadOnlyCacheLayer


class BranchCacheLayer(ReadOnlyCacheLayer):
    """Read-only cache layer that gives each of M branches the `[B, G, S, D]` keys and values of its sequence."""

    def __init__(self, keys: Tensor, values: Tensor, parent_indices: Int[Tensor, "M"]):
        super().__init__(keys, values)
        self.parent_indices = parent_indices

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return cached and new keys and values, each `[M, G, S + l, D]`; copied for one layer at a time."""
        assert self.keys is not None
        assert self.values is not None
        keys = torch.cat([self.keys[self.parent_indices].to(key_states.dtype), key_states], dim=2)
        values = torch.cat([self.values[self.parent_indices].to(value_states.dtype), value_states], dim=2)
        return keys, values


def make_branch_cache(cache: Cache, parent_indices: Int[Tensor, "M"]) -> Cache:
    """Build a read-only cache in which each branch sees the entries of its sequence in `cache`."""
    return Cache(layers=[BranchCacheLayer(*_get_keys_values(layer), parent_indices) for layer in cache.layers])


def make_branch_decoder_cache(
    cache: EncoderDecoderCache, parent_indices: Int[Tensor, "M"], shared_length: int
) -> EncoderDecoderCache:
    """Build the cache of branches of a decoder, reusing the keys and values of its cross-attention.

    Args:
        cache: cache of the decoder, of all sequences.
        parent_indices: `[M]`, index of the sequence that each branch continues.
        shared_length: number of decoder tokens that precede the branches; later entries are padding.
    """
    self_attention, cross = DynamicCache(), DynamicCache()
    for old, new, end in (
        (cache.self_attention_cache, self_attention, shared_length),
        (cache.cross_attention_cache, cross, None),
    ):
        for index, layer in enumerate(old.layers):
            keys, values = _get_keys_values(layer)
            new.update(keys[parent_indices, :, :end], values[parent_indices, :, :end], index)
    branch_cache = EncoderDecoderCache(self_attention, cross)
    branch_cache.is_updated = dict(cache.is_updated)
    return branch_cache


def _get_keys_values(layer: Any) -> tuple[Tensor, Tensor]:
    """Return the keys and values of a layer of a growing cache."""
    return layer.keys, layer.values
