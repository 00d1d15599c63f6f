"""Attention of all tokens of a step, which are concatenated in one flat sequence without padding.

The model passes each layer's queries, keys and values to `_engine_attention` (transformers'
`AttentionInterface.register`). The keys and values are written to the slots of their sequences, and each token attends
to its own sequence only.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from softprompt.engine.kv_cache import KVCache, TokenSegment
from softprompt.engine.layer_inputs import LayerInputs
from softprompt.engine.matmul_attention import MatmulDecodeAttention, matmul_attention

logger = logging.getLogger(__name__)

ATTN_IMPLEMENTATION = "softprompt_slots"


class DecodeAttention(Protocol):
    """Attention of the decoding sequences of a step: one token each, in the order of their slots."""

    def attend_layer(self, layer: int, inputs: LayerInputs, output: Float[Tensor, "n A D"]) -> None:
        """Write a layer's new keys and values to the slots, and the result of attention to `output`."""
        ...


DecodeBackend = Callable[[KVCache, Sequence[TokenSegment]], DecodeAttention]


def select_decode_backend(device: torch.device, dtype: torch.dtype) -> DecodeBackend:
    """Return the fastest decode attention for a device. The numba kernel needs GNU OpenMP, which torch has on Linux."""
    if device.type == "cpu" and dtype == torch.float32 and sys.platform == "linux":
        return _load_numba_attention() or MatmulDecodeAttention
    return MatmulDecodeAttention


def _load_numba_attention() -> DecodeBackend | None:
    """Compile the numba kernel and return its attention; None, with a warning, where the kernel is not available."""
    try:
        from softprompt.engine.numba_attention import NumbaDecodeAttention
        from softprompt.engine.numba_kernel import KernelUnavailable, load_kernel
    except ImportError as error:
        logger.warning("decoding falls back to torch kernels: %s", error)
        return None
    try:
        load_kernel()
    except KernelUnavailable as error:
        logger.warning("decoding falls back to torch kernels: %s", error)
        return None
    return NumbaDecodeAttention


class StepAttention:
    """Attention of one step: first segments of one token, in the order of their slots, then longer segments.

    Args:
        kv_cache: keys and values of all slots.
        decode_backend: builds the attention of the decode segments.
        decode_segments: segments of one token each.
        prefill_segments: longer segments, which follow in the flat sequence.
    """

    def __init__(
        self,
        kv_cache: KVCache,
        decode_backend: DecodeBackend,
        decode_segments: Sequence[TokenSegment],
        prefill_segments: Sequence[TokenSegment],
    ):
        kv_cache.reserve_segments([*decode_segments, *prefill_segments])
        self._kv_cache, self._prefill_segments = kv_cache, prefill_segments
        self._num_decode_tokens = len(decode_segments)
        self._num_tokens = len(decode_segments) + sum(s.num_tokens for s in prefill_segments)
        self._decode_attention = decode_backend(kv_cache, decode_segments) if decode_segments else None
        self._flat_indices = kv_cache.compute_flat_indices(prefill_segments) if prefill_segments else None
        self._prefill_masks: Sequence[Tensor] | None = None  # built on first use: the layer gives the number of heads

    def attend_layer(self, layer: int, inputs: LayerInputs) -> Float[Tensor, "1 T A D"]:
        """Return the attention output of all tokens; padding after the last segment gives zeros."""
        A, T, D = inputs.queries.shape
        output = inputs.queries.new_empty(T, A, D)
        output[self._num_tokens :] = 0
        if self._decode_attention is not None:
            decode = inputs.select_tokens(0, self._num_decode_tokens)
            self._decode_attention.attend_layer(layer, decode, output[: self._num_decode_tokens])
        if self._flat_indices is not None:
            self._attend_prefill_segments(layer, inputs, self._flat_indices, output)
        return output.unsqueeze(0)

    def _attend_prefill_segments(
        self,
        layer: int,
        inputs: LayerInputs,
        flat_indices: Int[Tensor, "T_G"],
        output: Float[Tensor, "T A D"],
    ) -> None:
        A, _, D = inputs.queries.shape
        prefill = inputs.select_tokens(self._num_decode_tokens, self._num_tokens)
        self._kv_cache.write_tokens(layer, flat_indices, prefill.keys, prefill.values)
        layer_keys, layer_values = self._kv_cache.keys[layer], self._kv_cache.values[layer]
        for segment, mask in zip(self._prefill_segments, self._get_prefill_masks(A), strict=True):
            span = slice(segment.start, segment.start + segment.num_tokens)
            visible = (
                slice(segment.slot, segment.slot + 1),
                slice(None),
                slice(segment.num_past_positions + segment.num_tokens),
            )
            attended = _attend_prefill(
                inputs.queries[:, span].reshape(1, layer_keys.shape[1], -1, D),
                layer_keys[visible],
                layer_values[visible],
                mask,
                inputs.scale,
                inputs.softcap,
            )
            output[span] = attended.view(A, segment.num_tokens, -1).transpose(0, 1)

    def _get_prefill_masks(self, num_heads: int) -> Sequence[Float[Tensor, "1 N S"]]:
        """Return the masks of the prefill segments, repeated for the query heads of a group."""
        if self._prefill_masks is None:
            group = num_heads // self._kv_cache.keys.shape[2]
            self._prefill_masks = [
                self._build_causal_mask(segment).repeat(1, group, 1) for segment in self._prefill_segments
            ]
        return self._prefill_masks

    def _build_causal_mask(self, segment: TokenSegment) -> Float[Tensor, "1 T S"]:
        positions = torch.arange(segment.num_past_positions + segment.num_tokens, device=self._kv_cache.keys.device)
        return self._kv_cache.build_additive_mask(
            positions <= positions[segment.num_past_positions :].unsqueeze(1)
        ).unsqueeze(0)


def _attend_prefill(
    queries: Float[Tensor, "B A T D"],
    keys: Float[Tensor, "B A S D"],
    values: Float[Tensor, "B A S D"],
    mask: Float[Tensor, "_ _ S"],
    scale: float,
    softcap: float | None,
) -> Float[Tensor, "B A T D"]:
    if softcap is None:
        return scaled_dot_product_attention(queries, keys, values, attn_mask=mask.unsqueeze(0), scale=scale)
    return matmul_attention(queries, keys, values, mask, scale, softcap)


def _engine_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: None, step: StepAttention, **kwargs: Any
) -> tuple[Tensor, None]:
    """Compute the attention of a layer; transformers' layers call this function."""
    scale = kwargs.get("scaling")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    inputs = LayerInputs(query[0], key[0], value[0], scale, kwargs.get("softcap"))
    return step.attend_layer(module.layer_idx, inputs), None


AttentionInterface.register(ATTN_IMPLEMENTATION, _engine_attention)


@contextmanager
def use_engine_attention(network: PreTrainedModel) -> Iterator[None]:
    """Switch the network's layers to the engine's attention inside the context; no mask is built."""
    previous = network.config._attn_implementation
    network.config._attn_implementation = ATTN_IMPLEMENTATION
    try:
        yield
    finally:
        network.config._attn_implementation = previous
