"""The payloads of a batch: one for all sequences, or one per sequence, as tensors for a forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from softprompt.model.payload import KVPrefix, Payload, PromptEmbeddings

BatchPayloads = Payload | Sequence[Payload | None] | None
"""One compiled payload for all sequences, one per sequence (None: the bare base model), or None."""


def stack_virtual_tokens(payloads: BatchPayloads) -> Float[Tensor, "b P E"] | None:
    """Stack the embeddings of virtual tokens, right-padded; None if no payload has any (b is 1 or B)."""
    if isinstance(payloads, PromptEmbeddings):
        return payloads.tensor.unsqueeze(0)
    if not isinstance(payloads, Sequence):
        return None
    tensors = [p.tensor for p in payloads if isinstance(p, PromptEmbeddings)]
    if not tensors:
        return None
    empty = tensors[0].new_zeros(0, tensors[0].shape[1])
    padded = [p.tensor if isinstance(p, PromptEmbeddings) else empty for p in payloads]
    return torch.nn.utils.rnn.pad_sequence(padded, batch_first=True)


def slice_layers(payloads: BatchPayloads, first_layer: int) -> BatchPayloads:
    """Restrict KV prefixes to the layers from `first_layer` on; equal payloads remain the same object."""
    if not isinstance(payloads, Sequence):
        return payloads.slice_from_layer(first_layer) if isinstance(payloads, KVPrefix) else payloads
    sliced = {id(p): p.slice_from_layer(first_layer) if isinstance(p, KVPrefix) else p for p in payloads}
    return [sliced[id(payload)] for payload in payloads]


def batch_prefixes(
    payloads: BatchPayloads, batch_size: int, device: torch.device
) -> tuple[Float[Tensor, "L 2 b G S D"] | None, Bool[Tensor, "B S"]]:
    """Return the keys and values in front of the sequences (b is 1 or B), and a mask of those that each attends to."""
    if isinstance(payloads, KVPrefix):
        return broadcast_prefix(payloads, batch_size)
    if isinstance(payloads, Sequence):
        prefixes = [p if isinstance(p, KVPrefix) else None for p in payloads]
        if first := next((p for p in prefixes if p is not None), None):
            return stack_prefixes(prefixes, like=first)
    return None, torch.zeros(batch_size, 0, dtype=torch.bool, device=device)


def broadcast_prefix(prefix: KVPrefix, batch_size: int) -> tuple[Float[Tensor, "L 2 1 G P D"], Bool[Tensor, "B P"]]:
    """Share one prefix among all sequences; it is stored once."""
    mask = torch.ones(batch_size, prefix.num_positions, dtype=torch.bool, device=prefix.tensor.device)
    return prefix.tensor.unsqueeze(2), mask


def stack_prefixes(
    prefixes: list[KVPrefix | None], like: KVPrefix
) -> tuple[Float[Tensor, "L 2 B G P D"], Bool[Tensor, "B P"]]:
    """Stack one prefix per sequence, left-padded; None for a sequence without prefix."""
    distinct = list({id(prefix): prefix for prefix in prefixes}.values())  # stacked once, then selected
    index = {id(prefix): i for i, prefix in enumerate(distinct)}
    longest = max(0 if p is None else p.num_positions for p in distinct)
    L, _, G, _, D = like.tensor.shape
    empty = like.tensor.new_zeros(L, 2, G, 0, D)
    tensors = [empty if p is None else p.tensor for p in distinct]
    table = torch.stack([nn.functional.pad(t, (0, 0, longest - t.shape[3], 0)) for t in tensors], dim=2)
    prefix_indices = torch.tensor([index[id(prefix)] for prefix in prefixes], device=table.device)
    lengths = torch.tensor([t.shape[3] for t in tensors], device=table.device)
    mask = torch.arange(longest, device=table.device) >= longest - lengths.unsqueeze(1)
    return table.index_select(2, prefix_indices), mask[prefix_indices]
