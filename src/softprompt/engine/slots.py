"""Keys and values of the rows that run, in memory that is laid out once, and the attention that reads and writes them.

All tokens of a step, whosever they are, go through the model as one flat row, so nothing is padded but the attention's
keys. The model hands each layer's queries, keys and values to a function of ours (transformers'
`AttentionInterface.register`), which knows whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from softprompt.engine.room import Room
from softprompt.model.shape import ModelShape

ATTENTION = "softprompt_slots"
KEPT = 256  # positions of a slot whose memory stays when a row is over: to take it anew costs time


@dataclass(frozen=True)
class Segment:
    """Tokens of one row that stand beside one another in the flat row.

    Attributes:
        slot: of the row.
        start: where in the flat row they begin.
        count: how many they are.
        behind: positions that the row has behind them in its slot.
    """

    slot: int
    start: int
    count: int
    behind: int


class Slots:
    """Room for the keys and values of S rows of N positions, in every layer.

    Args:
        shape: of the model.
        count: S.
        length: N.
    """

    def __init__(self, shape: ModelShape, count: int, length: int, device: torch.device, dtype: torch.dtype):
        self.count, self.length = count, length
        size = (shape.num_layers, count, shape.num_kv_heads, length, shape.head_dim)
        self._rooms = tuple(Room(size, device, dtype) for _ in range(2))
        self.keys, self.values = (room.tensor for room in self._rooms)
        self._touched = [0] * count  # positions of each slot that take memory
        self._heads = torch.arange(shape.num_kv_heads, device=device)
        self._flat = [
            tuple(each[i].view(-1, shape.head_dim) for each in (self.keys, self.values)) for i in range(size[0])
        ]

    def put(self, slot: int, at: int, states: Float[Tensor, "L 2 G n D"]) -> None:
        """Let a row have keys and values from a position on."""
        part = slice(at, at + states.shape[3])
        self._touch(slot, part.stop)
        self.keys[:, slot, :, part] = states[:, 0]
        self.values[:, slot, :, part] = states[:, 1]

    def get(self, slot: int, start: int, stop: int) -> Float[Tensor, "L 2 G n D"]:
        """A copy of what a row has from one position to another."""
        return torch.stack([each[:, slot, :, start:stop] for each in (self.keys, self.values)], dim=1)

    def move(self, source: int, target: int, positions: int) -> None:
        """Give a row another slot."""
        for each in (self.keys, self.values):
            each[:, target, :, :positions] = each[:, source, :, :positions]
        self._touch(target, positions)

    def trim(self, slot: int, positions: int) -> None:
        """Give back the memory of a slot behind so many positions, and behind those that nearly every row needs."""
        end = max(positions, KEPT)
        if self._touched[slot] <= end:
            return
        for room in self._rooms:
            room.give_back(room.tensor[:, slot, :, end : self._touched[slot]].flatten(-2))
        self._touched[slot] = end

    def _touch(self, slot: int, positions: int) -> None:
        self._touched[slot] = max(self._touched[slot], positions)

    def written_at(self, segments: Sequence[Segment]) -> Int[Tensor, "T_G"]:
        """Where the new keys of segments go, in a layer's memory as a list of heads' positions."""
        for s in segments:
            self._touch(s.slot, s.behind + s.count)
        device = self._heads.device
        places = torch.cat(
            [
                torch.arange(s.behind, s.behind + s.count, device=device) + s.slot * len(self._heads) * self.length
                for s in segments
            ]
        )
        return (places.unsqueeze(1) + self._heads * self.length).flatten()

    def write(
        self, layer: int, at: Int[Tensor, "T_G"], keys: Float[Tensor, "1 G T D"], values: Float[Tensor, "1 G T D"]
    ) -> None:
        """Put new keys and values in their places."""
        for memory, new in zip(self._flat[layer], (keys, values), strict=True):
            memory.index_copy_(0, at, new[0].transpose(0, 1).reshape(-1, new.shape[-1]).to(memory.dtype))


class Step:
    """One pass of a flat row: `single` segments of one token each, in the order of their slots, then longer ones."""

    def __init__(self, slots: Slots, single: Sequence[Segment], several: Sequence[Segment]):
        self.slots, self.single, self.several = slots, single, several
        self.count = sum(s.count for s in (*single, *several))
        self.at = slots.written_at([*single, *several])
        device = slots.keys.device
        self._rows = torch.tensor([s.slot for s in single], device=device, dtype=torch.long)
        self._all = [s.slot for s in single] == list(range(len(single)))
        self._count = max((s.slot for s in single), default=-1) + 1
        self._longest = max((s.behind + 1 for s in single), default=0)
        self._mask = self._mask_of_single()
        self._masks: Sequence[Tensor] | None = None  # the model says how many heads ask

    def attend(
        self,
        layer: int,
        queries: Float[Tensor, "1 A T D"],
        keys: Tensor,
        values: Tensor,
        scale: float | None,
        softcap: float | None,
    ) -> Float[Tensor, "1 T A D"]:
        """What each token's queries find in its row; behind all rows' tokens may stand some that find nothing."""
        self.slots.write(layer, self.at, keys[:, :, : self.count], values[:, :, : self.count])
        own_keys, own_values = self.slots.keys[layer], self.slots.values[layer]
        found = queries.new_empty(1, queries.shape[2], queries.shape[1], queries.shape[3])
        found[:, self.count :] = 0
        if self.single:
            found[0, : len(self.single)] = self._single(
                queries[0, :, : len(self.single)], own_keys, own_values, scale, softcap
            )
        for segment, mask in zip(self.several, self._masks_of(queries.shape[1]), strict=True):
            part = slice(segment.start, segment.start + segment.count)
            seen = (slice(segment.slot, segment.slot + 1), slice(None), slice(segment.behind + segment.count))
            asked = queries[:, :, part].reshape(1, own_keys.shape[1], -1, queries.shape[3])
            answer = _attention(asked, own_keys[seen], own_values[seen], mask, scale, softcap)
            found[0, part] = answer.view(queries.shape[1], segment.count, -1).transpose(0, 1)
        return found

    def _masks_of(self, heads: int) -> Sequence[Float[Tensor, "1 N S"]]:
        """The masks of longer segments, for queries of which those of a group of heads stand below one another."""
        if self._masks is None:
            group = heads // self.slots.keys.shape[2]
            self._masks = [self._mask_of(segment).repeat(1, group, 1) for segment in self.several]
        return self._masks

    def _single(
        self, queries: Float[Tensor, "A n D"], keys: Tensor, values: Tensor, scale: float | None, softcap: float | None
    ) -> Float[Tensor, "n A D"]:
        """What the rows with one token find, all at once: the heads of a group ask the same keys."""
        A, n, D = queries.shape
        asked = queries.transpose(0, 1).reshape(n, keys.shape[1], -1, D)
        if not self._all:  # rows between them are still read, and ask nothing
            asked = asked.new_zeros(self._count, *asked.shape[1:]).index_copy(0, self._rows, asked)
        seen = (slice(self._count), slice(None), slice(self._longest))
        # Products of our own: a fused kernel cuts the queries into blocks, of which there is one.
        answer = _products(asked, keys[seen], values[seen], self._mask, scale, softcap)
        return (answer if self._all else answer[self._rows]).reshape(n, A, D)

    def _mask_of_single(self) -> Float[Tensor, "n_G 1 S"]:
        device = self.slots.keys.device
        ends = torch.ones(self._count, 1, dtype=torch.long, device=device)  # a row that asks nothing sees something
        ends[self._rows, 0] = torch.tensor([s.behind + 1 for s in self.single], device=device, dtype=torch.long)
        mask = self._added(torch.arange(self._longest, device=device) < ends)
        return mask.repeat_interleave(self.slots.keys.shape[2], dim=0).unsqueeze(1)

    def _mask_of(self, segment: Segment) -> Float[Tensor, "1 T S"]:
        places = torch.arange(segment.behind + segment.count, device=self.slots.keys.device)
        return self._added(places <= places[segment.behind :].unsqueeze(1)).unsqueeze(0)

    def _added(self, seen: Bool[Tensor, "T S"]) -> Float[Tensor, "T S"]:
        """What is added to the weights of positions so that only these are seen; made once for all layers."""
        zeros = torch.zeros(seen.shape, device=seen.device, dtype=self.slots.keys.dtype)
        return zeros.masked_fill(~seen, float("-inf"))


def _attention(
    queries: Float[Tensor, "B A T D"],
    keys: Float[Tensor, "B A S D"],
    values: Float[Tensor, "B A S D"],
    mask: Float[Tensor, "_ _ S"],
    scale: float | None,
    softcap: float | None,
) -> Float[Tensor, "B A T D"]:
    if softcap is None:
        return scaled_dot_product_attention(queries, keys, values, attn_mask=mask.unsqueeze(0), scale=scale)
    return _products(queries, keys, values, mask, scale, softcap)


def _products(
    queries: Float[Tensor, "B A T D"],
    keys: Float[Tensor, "B A S D"],
    values: Float[Tensor, "B A S D"],
    mask: Float[Tensor, "_ _ S"],
    scale: float | None,
    softcap: float | None,
) -> Float[Tensor, "B A T D"]:
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    asked, known = queries.flatten(0, 1), keys.flatten(0, 1)
    weights = torch.bmm(known, asked.transpose(1, 2)).transpose(1, 2)  # keys first: they are read as they lie
    if softcap is None:
        weights = torch.add(mask, weights, alpha=scale)
    else:
        weights = softcap * torch.tanh(weights * (scale / softcap)) + mask
    shares = weights.softmax(dim=-1, dtype=torch.float32).to(values.dtype)
    return torch.bmm(shares, values.flatten(0, 1)).view(queries.shape)


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
