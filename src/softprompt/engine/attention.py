"""Attention of all tokens of a step, which stand in one flat row, whosever they are.

The model hands each layer's queries, keys and values to a function of ours (transformers'
`AttentionInterface.register`), which knows whose they are: it puts keys and values where their rows have them, and lets
each token see its own row. So nothing is padded.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from softprompt.engine.products import Products, products
from softprompt.engine.slots import Segment, Slots

logger = logging.getLogger(__name__)

ATTENTION = "softprompt_slots"


class OfSingle(Protocol):
    """The attention of a step's rows that go on with one token each, in the order of their slots."""

    def attend(
        self,
        layer: int,
        queries: Float[Tensor, "A n D"],
        keys: Float[Tensor, "G n D"],
        values: Float[Tensor, "G n D"],
        found: Float[Tensor, "n A D"],
        scale: float,
        softcap: float | None,
    ) -> None:
        """Put a layer's new keys and values into the rows' slots, and what the queries find into `found`."""
        ...


Singles = Callable[[Slots, Sequence[Segment]], OfSingle]


def fastest(device: torch.device, dtype: torch.dtype) -> Singles:
    """How rows of one token each are attended fastest. Only Linux has the helpers of torch that the kernel knows."""
    if device.type == "cpu" and dtype == torch.float32 and sys.platform == "linux":
        try:
            from softprompt.engine.kernel import Kernel
        except ImportError as error:
            logger.warning("responses are written more slowly: %s", error)
        else:
            return Kernel
    return Products


class Step:
    """One pass of a flat row: segments of one token each, in the order of their slots, then longer ones.

    Args:
        slots: of the rows.
        singles: attends the first of them.
        single: these.
        several: the others.
    """

    def __init__(self, slots: Slots, singles: Singles, single: Sequence[Segment], several: Sequence[Segment]):
        slots.touch([*single, *several])
        self._slots, self._several, self._first = slots, several, len(single)
        self._count = len(single) + sum(s.count for s in several)
        self._single = singles(slots, single) if single else None
        self._at = slots.places(several) if several else None
        self._masks: Sequence[Tensor] | None = None  # the model says how many heads ask

    def attend(
        self,
        layer: int,
        queries: Float[Tensor, "1 A T D"],
        keys: Float[Tensor, "1 G T D"],
        values: Float[Tensor, "1 G T D"],
        scale: float | None,
        softcap: float | None,
    ) -> Float[Tensor, "1 T A D"]:
        """What each token's queries find in its row; behind all rows' tokens may stand some that find nothing."""
        _, A, T, D = queries.shape
        scale = D**-0.5 if scale is None else scale
        found = queries.new_empty(1, T, A, D)
        found[:, self._count :] = 0
        first, rest = slice(self._first), slice(self._first, self._count)
        if self._single is not None:
            one = (queries[0, :, first], keys[0, :, first], values[0, :, first])
            self._single.attend(layer, *one, found[0, first], scale, softcap)
        if self._at is not None:
            self._slots.write(layer, self._at, keys[0, :, rest], values[0, :, rest])
        own_keys, own_values = self._slots.keys[layer], self._slots.values[layer]
        for segment, mask in zip(self._several, self._masks_of(A), strict=True):
            part = slice(segment.start, segment.start + segment.count)
            seen = (slice(segment.slot, segment.slot + 1), slice(None), slice(segment.behind + segment.count))
            asked = queries[:, :, part].reshape(1, own_keys.shape[1], -1, D)
            answer = _attention(asked, own_keys[seen], own_values[seen], mask, scale, softcap)
            found[0, part] = answer.view(A, segment.count, -1).transpose(0, 1)
        return found

    def _masks_of(self, heads: int) -> Sequence[Float[Tensor, "1 N S"]]:
        """The masks of longer segments, for queries of which those of a group of heads stand below one another."""
        if self._masks is None:
            group = heads // self._slots.keys.shape[2]
            self._masks = [self._mask_of(segment).repeat(1, group, 1) for segment in self._several]
        return self._masks

    def _mask_of(self, segment: Segment) -> Float[Tensor, "1 T S"]:
        places = torch.arange(segment.behind + segment.count, device=self._slots.keys.device)
        return self._slots.added(places <= places[segment.behind :].unsqueeze(1)).unsqueeze(0)


def _attention(
    queries: Float[Tensor, "B A T D"],
    keys: Float[Tensor, "B A S D"],
    values: Float[Tensor, "B A S D"],
    mask: Float[Tensor, "_ _ S"],
    scale: float,
    softcap: float | None,
) -> Float[Tensor, "B A T D"]:
    if softcap is None:
        return scaled_dot_product_attention(queries, keys, values, attn_mask=mask.unsqueeze(0), scale=scale)
    return products(queries, keys, values, mask, scale, softcap)


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: None, step: Step, **rest: Any
) -> tuple[Tensor, None]:
    """What transformers' layers call."""
    return step.attend(module.layer_idx, query, key, value, rest.get("scaling"), rest.get("softcap")), None


AttentionInterface.register(ATTENTION, _attend)


@contextmanager
def attending(network: PreTrainedModel) -> Iterator[None]:
    """Let the network's layers call our attention meanwhile; no mask is made for it."""
    before = network.config._attn_implementation
    network.config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        network.config._attn_implementation = before
