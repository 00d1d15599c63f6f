"""Attention by torch's matrix products, on any device and in any precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.engine.kv_cache import KVCache, TokenSegment
from softprompt.engine.layer_inputs import LayerInputs


def matmul_attention(
    queries: Float[Tensor, "B A T D"],
    keys: Float[Tensor, "B A S D"],
    values: Float[Tensor, "B A S D"],
    mask: Float[Tensor, "_ _ S"],
    scale: float,
    softcap: float | None,
) -> Float[Tensor, "B A T D"]:
    """Return the attention output; `mask` is added to the scores."""
    flat_queries, flat_keys = queries.flatten(0, 1), keys.flatten(0, 1)
    # Keys come first, so that they are read in memory order.
    scores = torch.bmm(flat_keys, flat_queries.transpose(1, 2)).transpose(1, 2)
    if softcap is None:
        scores = torch.add(mask, scores, alpha=scale)
    else:
        scores = softcap * torch.tanh(scores * (scale / softcap)) + mask
    probabilities = scores.softmax(dim=-1, dtype=torch.float32).to(values.dtype)
    return torch.bmm(probabilities, values.flatten(0, 1)).view(queries.shape)


class MatmulDecodeAttention:
    """Attention of decoding sequences by one batched matrix product; see `DecodeAttention`.

    All slots up to the last are read, each up to the longest sequence. torch's fused kernels split the queries of a
    sequence into blocks, which gains nothing here: a decoding sequence has a single query.
    """

    def __init__(self, kv_cache: KVCache, segments: Sequence[TokenSegment]):
        self._kv_cache, device = kv_cache, kv_cache.keys.device
        self._flat_indices = kv_cache.compute_flat_indices(segments)
        self._slot_indices = torch.tensor([segment.slot for segment in segments], device=device, dtype=torch.long)
        self._is_contiguous = [segment.slot for segment in segments] == list(range(len(segments)))
        self._num_slots = segments[-1].slot + 1
        self._max_length = max(segment.num_past_positions + 1 for segment in segments)
        # An unused slot sees one position, because softmax over no position gives NaN.
        visible_lengths = torch.ones(self._num_slots, 1, dtype=torch.long, device=device)
        visible_lengths[self._slot_indices, 0] = torch.tensor(
            [segment.num_past_positions + 1 for segment in segments], device=device, dtype=torch.long
        )
        mask = kv_cache.build_additive_mask(torch.arange(self._max_length, device=device) < visible_lengths)
        self._mask = mask.repeat_interleave(kv_cache.keys.shape[2], dim=0).unsqueeze(1)

    def attend_layer(self, layer: int, inputs: LayerInputs, output: Float[Tensor, "n A D"]) -> None:
        """Attend to the slots of all sequences in a layer; see `DecodeAttention`."""
        self._kv_cache.write_tokens(layer, self._flat_indices, inputs.keys, inputs.values)
        A, n, D = inputs.queries.shape
        grouped_queries = inputs.queries.transpose(0, 1).reshape(n, len(inputs.keys), -1, D)
        if not self._is_contiguous:
            grouped_queries = grouped_queries.new_zeros(self._num_slots, *grouped_queries.shape[1:]).index_copy(
                0, self._slot_indices, grouped_queries
            )
        visible = (slice(self._num_slots), slice(None), slice(self._max_length))
        layer_keys, layer_values = self._kv_cache.keys[layer], self._kv_cache.values[layer]
        attended = matmul_attention(
            grouped_queries, layer_keys[visible], layer_values[visible], self._mask, inputs.scale, inputs.softcap
        )
        output[:] = (attended if self._is_contiguous else attended[self._slot_indices]).reshape(n, A, D)
