"""Keys and values of the rows that run, in memory that is laid out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.engine.room import Room
from softprompt.model.shape import ModelShape

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

    def clear(self, slot: int) -> None:
        """Forget what a row had, whose numbers may not be finite: others' masked positions are multiplied with them."""
        for each in (self.keys, self.values):
            each[:, slot, :, : self._touched[slot]] = 0

    def _touch(self, slot: int, positions: int) -> None:
        self._touched[slot] = max(self._touched[slot], positions)

    def touch(self, segments: Sequence[Segment]) -> None:
        """Segments are about to be written."""
        for s in segments:
            self._touch(s.slot, s.behind + s.count)

    def places(self, segments: Sequence[Segment]) -> Int[Tensor, "T_G"]:
        """Where the new keys of segments go, in a layer's memory as a list of heads' positions."""
        device = self._heads.device
        places = torch.cat(
            [
                torch.arange(s.behind, s.behind + s.count, device=device) + s.slot * len(self._heads) * self.length
                for s in segments
            ]
        )
        return (places.unsqueeze(1) + self._heads * self.length).flatten()

    def added(self, seen: Bool[Tensor, "T S"]) -> Float[Tensor, "T S"]:
        """What is added to the weights of positions so that only these are seen."""
        zeros = torch.zeros(seen.shape, device=seen.device, dtype=self.keys.dtype)
        return zeros.masked_fill(~seen, float("-inf"))

    def write(
        self, layer: int, at: Int[Tensor, "T_G"], keys: Float[Tensor, "G T D"], values: Float[Tensor, "G T D"]
    ) -> None:
        """Put new keys and values in their places."""
        for memory, new in zip(self._flat[layer], (keys, values), strict=True):
            memory.index_copy_(0, at, new.transpose(0, 1).reshape(-1, new.shape[-1]).to(memory.dtype))
