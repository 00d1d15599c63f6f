"""Branches: several continuations of the same sequences, each of which is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache

from softprompt.model.hooks.cache_layers import ReadOnlyCacheLayer

ATTENDED_POSITIONS_PER_TOKEN = 8  # attending to this many costs about as much as computing one token


@dataclass(frozen=True)
class SequenceBranches:
    """A batch of M continuations of l tokens, right-padded.

    Attributes:
        input_ids: token ids `[M, l]`.
        attention_mask: `[M, l]`, False at padding.
        parent_indices: `[M]`, index of the sequence that each branch continues.
    """

    input_ids: Int[Tensor, "M l"]
    attention_mask: Bool[Tensor, "M l"]
    parent_indices: Int[Tensor, "M"]

    def split(self, split_size: int) -> Iterator[SequenceBranches]:
        """Split into chunks of up to `split_size` branches."""
        for chunk in zip(
            self.input_ids.split(split_size),
            self.attention_mask.split(split_size),
            self.parent_indices.split(split_size),
            strict=True,
        ):
            yield SequenceBranches(*chunk)


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


def run_in_micro_batches(
    forward: Callable[[SequenceBranches], Tensor],
    branches: SequenceBranches,
    num_positions: int,
    max_forward_tokens: int,
) -> Float[Tensor, "M l H"]:
    """Run branches in micro-batches and concatenate the outputs.

    With gradient, the activations of several micro-batches would add up, so each is recomputed in the backward pass.

    Args:
        forward: function from branches to the last layer's output.
        branches: branches to run.
        num_positions: number of positions that each branch attends to in every layer.
        max_forward_tokens: the model's maximum number of tokens in a forward pass.
    """
    chunks = list(branches.split(max(1, ATTENDED_POSITIONS_PER_TOKEN * max_forward_tokens // num_positions)))
    if len(chunks) == 1 or not torch.is_grad_enabled():
        return torch.cat([forward(chunk) for chunk in chunks])
    return torch.cat([checkpoint(forward, chunk, use_reentrant=False) for chunk in chunks])


BranchedHiddenStates = tuple[Float[Tensor, "B T H"], Float[Tensor, "M l H"]]
"""Last layer's output for the tokens of the sequences, and for those of their branches."""
