"""KV caches that transformers' models accept as `past_key_values`.

There are three kinds: `ReadOnlyCacheLayer` supplies a prefix to a forward pass and stores nothing (so that gradient
checkpointing may run a layer twice), `CapturingCacheLayer` records what a layer computes, and transformers' own
`DynamicLayer` grows during generation.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer


class ReadOnlyCacheLayer(CacheLayerMixin):
    """Read-only cache layer: puts `[b, G, P, D]` keys and values in front of every sequence (b is 1 or B)."""

    def __init__(self, keys: Tensor, values: Tensor):
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values = keys, values
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: the keys and values are given."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return the cached and the new keys and values, each `[B, G, P + T, D]`."""
        assert self.keys is not None
        assert self.values is not None
        B = key_states.shape[0]
        keys = torch.cat([self.keys.to(key_states.dtype).expand(B, -1, -1, -1), key_states], dim=2)
        values = torch.cat([self.values.to(value_states.dtype).expand(B, -1, -1, -1), value_states], dim=2)
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return length and offset of the keys that `query_length` new tokens attend to."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Return the number of cached positions, P."""
        assert self.keys is not None
        return self.keys.shape[2]

    def get_max_length(self) -> int:
        """Return -1: there is no maximum."""
        return -1


class EmptyCacheLayer(CacheLayerMixin):
    """Empty cache layer, the base of layers that observe a forward pass."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: there is nothing to allocate."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the new tokens alone as the keys: there is no past."""
        return query_length, 0

    def get_seq_length(self) -> int:
        """Return 0: there is no past."""
        return 0

    def get_max_length(self) -> int:
        """Return -1: there is no maximum."""
        return -1


class CapturingCacheLayer(EmptyCacheLayer):
    """Cache layer that records the keys and values of a forward pass, with their graph."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Record keys and values and return them unchanged."""
        self.keys, self.values = key_states, value_states
        return key_states, value_states

    @property
    def captured_kv(self) -> Float[Tensor, "2 G P D"]:
        """Keys and values of the recorded sequence."""
        assert self.keys is not None
        assert self.values is not None
        return torch.cat([self.keys, self.values])


class PrefixCapturingCacheLayer(ReadOnlyCacheLayer):
    """Cache layer that supplies a prefix to one sequence and records the keys and values after it, with their graph."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Record the new keys and values and return cached and new ones."""
        self.captured_kv = torch.cat([key_states, value_states])
        return super().update(key_states, value_states, *args, **kwargs)


class StopForward(Exception):
    """Exception by which a cache layer ends the forward pass once it has captured what it needs."""


class StoppingCacheLayer(EmptyCacheLayer):
    """Cache layer that records the first layer's values, `[B, G, T, D]`, and ends the forward pass."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Record the values and end the forward pass."""
        self.values = value_states
        raise StopForward


class PromptedDynamicCache(Cache):
    """A growing cache that contains the prompt and knows which of its positions are real.

    `SoftPromptModel` returns it as `past_key_values`, so a conversation that continues from it keeps the prompt.

    Attributes:
        attention_mask: `[B, S]`, True where the cached position holds a token or a virtual token.
    """

    def __init__(self, layers: list[DynamicLayer], attention_mask: Bool[Tensor, "B S"]):
        super().__init__(layers=list(layers))
        self.attention_mask = attention_mask

    def reorder_cache(self, beam_idx: Int[Tensor, "B"]) -> None:
        """Select sequences, as beam search does."""
        super().reorder_cache(cast(torch.LongTensor, beam_idx))
        self.attention_mask = self.attention_mask.index_select(0, beam_idx.to(self.attention_mask.device))


def make_read_only_cache(prefix_kv: Float[Tensor, "L 2 b G P D"], first_layer: int = 0) -> Cache:
    """Build a read-only cache of these keys and values for the layers from `first_layer` on.

    The entries below repeat the lowest of them, because a network asks layer 0 for the cache's length.
    """
    layers = [ReadOnlyCacheLayer(keys, values) for keys, values in prefix_kv]
    return Cache(layers=[*[layers[0]] * first_layer, *layers])


def make_growing_cache(
    prefix_kv: Float[Tensor, "L 2 b G P D"] | None,
    prefix_mask: Bool[Tensor, "B P"],
    num_layers: int,
    dtype: torch.dtype,
) -> PromptedDynamicCache:
    """Build a growing cache that begins with these keys and values, or empty."""
    layers = [DynamicLayer() for _ in range(num_layers)]
    if prefix_kv is not None:
        B = prefix_mask.shape[0]
        for layer, (keys, values) in zip(layers, prefix_kv.to(dtype), strict=True):
            layer.update(keys.expand(B, -1, -1, -1), values.expand(B, -1, -1, -1))
    return PromptedDynamicCache(layers, prefix_mask)
