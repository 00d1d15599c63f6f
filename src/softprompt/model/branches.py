"""Several continuations of the same rows: a row is computed once, however many ways it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache

from softprompt.model.cache import ReadOnlyLayer

POSITIONS_A_TOKEN = 8  # that are looked at cost about as much as a token that is computed


@dataclass(frozen=True)
class Branches:
    """M continuations of l tokens, padded behind.

    Attributes:
        ids: `[M, l]`.
        mask: `[M, l]`, false at padding.
        rows: `[M]`, which of the rows each continues.
    """

    ids: Int[Tensor, "M l"]
    mask: Bool[Tensor, "M l"]
    rows: Int[Tensor, "M"]

    def split(self, count: int) -> Iterator[Branches]:
        """The same in parts of up to so many continuations."""
        for parts in zip(self.ids.split(count), self.mask.split(count), self.rows.split(count), strict=True):
            yield Branches(*parts)


class BranchLayer(ReadOnlyLayer):
    """Lends each of M continuations the `[B, G, S, D]` keys and values of the row that it continues."""

    def __init__(self, keys: Tensor, values: Tensor, rows: Int[Tensor, "M"]):
        super().__init__(keys, values)
        self.rows = rows

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """The rows' keys and values, then the new ones, each `[M, G, S + l, D]`; copied for one layer at a time."""
        assert self.keys is not None
        assert self.values is not None
        keys = torch.cat([self.keys[self.rows].to(key_states.dtype), key_states], dim=2)
        values = torch.cat([self.values[self.rows].to(value_states.dtype), value_states], dim=2)
        return keys, values


def branch_cache(cache: Cache, rows: Int[Tensor, "M"]) -> Cache:
    """A cache that lends each continuation what `cache` holds of its row, and keeps nothing."""
    return Cache(layers=[BranchLayer(*_states_of(layer), rows) for layer in cache.layers])


def branch_decoder_cache(cache: EncoderDecoderCache, rows: Int[Tensor, "M"], length: int) -> EncoderDecoderCache:
    """The same for a decoder, whose attention to the encoder is not computed anew.

    Args:
        cache: the decoder's, of all rows.
        rows: which of them each continuation goes on from.
        length: tokens of the decoder that continuations stand behind; what the cache has beyond is other rows' padding.
    """
    own, cross = DynamicCache(), DynamicCache()
    for old, new, end in ((cache.self_attention_cache, own, length), (cache.cross_attention_cache, cross, None)):
        for index, layer in enumerate(old.layers):
            keys, values = _states_of(layer)
            new.update(keys[rows, :, :end], values[rows, :, :end], index)
    found = EncoderDecoderCache(own, cross)
    found.is_updated = dict(cache.is_updated)
    return found


def _states_of(layer: Any) -> tuple[Tensor, Tensor]:
    """The keys and values that a layer of a growing cache holds."""
    return layer.keys, layer.values


def run_in_parts(
    run: Callable[[Branches], Tensor], branches: Branches, num_positions: int, pass_tokens: int
) -> Float[Tensor, "M l H"]:
    """What `run` makes of continuations, as many at a time as a pass should hold.

    With gradient, what several parts hold would add up: each is run anew in the backward pass.

    Args:
        run: gives the last layer's output.
        branches: them.
        num_positions: that each sees in every layer.
        pass_tokens: the model's.
    """
    parts = list(branches.split(max(1, POSITIONS_A_TOKEN * pass_tokens // num_positions)))
    if len(parts) == 1 or not torch.is_grad_enabled():
        return torch.cat([run(some) for some in parts])
    return torch.cat([checkpoint(run, some, use_reentrant=False) for some in parts])


Hidden = tuple[Float[Tensor, "B T H"], Float[Tensor, "M l H"]]
"""The last layer's output for the rows' tokens, and for those of their continuations."""
