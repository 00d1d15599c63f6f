"""An attention function that records the queries of each layer and changes nothing.

transformers' layers call one attention function, which a library can register. This one records the queries, after
the rotary embedding, and then calls the function that the network would have called without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

#: Attention functions that can be recorded, with the function that builds their masks.
MASK_FUNCTIONS: dict[str, Callable[..., Any]] = {"eager": eager_mask, "sdpa": sdpa_mask}

_active_recorder: ContextVar[list[Tensor] | None] = ContextVar("query_recorder", default=None)


def can_record_queries(network: PreTrainedModel) -> bool:
    """Return whether all layers call a registered attention function that can be recorded."""
    return bool(network._supports_attention_backend) and network.config._attn_implementation in MASK_FUNCTIONS


@contextmanager
def record_queries(network: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Record the queries of all layers that run inside the `with` block, in this thread or task.

    Yields:
        The list that receives the queries `[B, A, T, D]` of each layer, in the order in which the layers run. They are
        multiplied by the attention scale of the layer, so that their products with keys are the logits.
    """
    previous, layer_queries = network.config._attn_implementation, list[Tensor]()
    token = _active_recorder.set(layer_queries)
    network.config._attn_implementation = _get_recording_name(previous)
    try:
        yield layer_queries
    finally:
        network.config._attn_implementation = previous
        _active_recorder.reset(token)


def _get_recording_name(attn_implementation: str) -> str:
    return f"softprompt_recording_{attn_implementation}"


def _make_recording_attention(attn_implementation: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """Make the function that records the queries of a layer and calls its attention function."""

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        recorder = _active_recorder.get()
        if recorder is not None:
            scaling = kwargs.get("scaling")
            recorder.append(query * (query.shape[-1] ** -0.5 if scaling is None else scaling))
        eager_attention: Any = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(attn_implementation, eager_attention)
        attended: tuple[Tensor, Tensor | None] = attention(module, query, key, value, mask, **kwargs)
        return attended

    return attend


for _name, _mask_function in MASK_FUNCTIONS.items():
    AttentionInterface.register(_get_recording_name(_name), _make_recording_attention(_name))
    AttentionMaskInterface.register(_get_recording_name(_name), _mask_function)
