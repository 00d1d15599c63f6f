"""An attention function that inserts the keys and values of a prefix, for networks without a cache for them.

An encoder has no `past_key_values`, and neither has the cross-attention of a decoder. All their layers call one
attention function, which transformers lets a library register. This one puts the prefix's keys and values before the
layer's own, in the order in which the attentions run: ALBERT runs one layer many times, and each layer of a decoder
attends twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTN_IMPLEMENTATION = "softprompt"


@runtime_checkable
class AttentionHook(Protocol):
    """Hook that the attention of each layer calls, in the order in which the layers run."""

    def on_attention(self, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the keys and values `[B, G, S, D]` and the mask `[b, 1, T, S]` that the layer attends with."""


class PrefixInjector:
    """Hook that puts the layers of a prefix `[L, 2, b, G, P, D]` (b is 1 or B) before the layers' own keys and values.

    Args:
        prefix_kv: keys and values of the prefix.
        prefix_mask: positions of the prefix that each sequence attends to.
    """

    def __init__(self, prefix_kv: Float[Tensor, "L 2 b G P D"], prefix_mask: Bool[Tensor, "B P"]):
        self._layer_prefixes = iter(prefix_kv)
        self._prefix_mask = prefix_mask

    def on_attention(self, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Put the prefix's keys, values and mask before the layer's own."""
        B, T = keys.shape[0], mask.shape[2]
        prefix_keys, prefix_values = next(self._layer_prefixes).to(keys.dtype).expand(2, B, -1, -1, -1)
        prefix_mask, own_mask = self._prefix_mask[:, None, None, :].expand(B, 1, T, -1), mask.expand(B, -1, -1, -1)
        masks = torch.cat([prefix_mask, own_mask], 3)
        return torch.cat([prefix_keys, keys], 2), torch.cat([prefix_values, values], 2), masks


class KVRecorder:
    """Hook that records the keys and values that each layer computes, with their autograd graph.

    Attributes:
        layer_kv: keys and values `[2, B, G, S, D]` of each layer, in the order in which the layers ran.
    """

    def __init__(self) -> None:
        self.layer_kv: list[Tensor] = []

    def on_attention(self, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Record keys and values, and return all arguments unchanged."""
        self.layer_kv.append(torch.stack([keys, values]))
        return keys, values, mask


_active_hook: ContextVar[AttentionHook | None] = ContextVar("attention_hook", default=None)


@contextmanager
def install_attention_hook(hook: AttentionHook) -> Iterator[None]:
    """Call the hook in each attention that runs inside the `with` block, in this thread or task."""
    token = _active_hook.set(hook)
    try:
        yield
    finally:
        _active_hook.reset(token)


def _attend_with_hook(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    hook = _active_hook.get()
    if hook is not None:
        mask = _make_implied_mask(module, query, key) if attention_mask is None else attention_mask
        key, value, attention_mask = hook.on_attention(key, value, mask)
    if position_bias is not None:
        # T5 adds a bias by the distance of two tokens. Keys of a prefix have no distance, so nothing is added.
        position_bias = nn.functional.pad(position_bias, (key.shape[2] - position_bias.shape[3], 0))
    return sdpa_attention_forward(module, query, key, value, attention_mask, position_bias=position_bias, **kwargs)


def _make_implied_mask(module: nn.Module, query: Tensor, key: Tensor) -> Bool[Tensor, "1 1 T S"]:
    """Make the mask that None stands for: every token attends to all, or in a decoder to those up to itself."""
    T, S = query.shape[2], key.shape[2]
    full = torch.ones(1, 1, T, S, dtype=torch.bool, device=key.device)
    return full.tril(S - T) if getattr(module, "is_causal", True) else full


AttentionInterface.register(ATTN_IMPLEMENTATION, _attend_with_hook)
AttentionMaskInterface.register(ATTN_IMPLEMENTATION, sdpa_mask)
