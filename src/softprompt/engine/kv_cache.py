"""KV cache: keys and values of all running sequences, in memory that is allocated once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.engine.reclaimable_tensor import ReclaimableTensor
from softprompt.model.model_shape import ModelShape

RETAINED_POSITIONS = 256  # positions of a slot whose memory is kept: page faults cost time


@dataclass(frozen=True)
class TokenSegment:
    """Contiguous tokens of one sequence in the flat sequence of a step.

    Attributes:
        slot: slot of the sequence.
        start: index of the first token in the flat sequence.
        num_tokens: number of tokens.
        num_past_positions: positions that the sequence has in its slot already.
    """

    slot: int
    start: int
    num_tokens: int
    num_past_positions: int


class KVCache:
    """Keys and values of S slots of N positions, in every layer.

    Args:
        shape: shape of the model.
        num_slots: number of slots, S.
        slot_length: number of positions in a slot, N.
        device: device of the tensors.
        dtype: data type of the tensors.
    """

    def __init__(self, shape: ModelShape, num_slots: int, slot_length: int, device: torch.device, dtype: torch.dtype):
        self.num_slots, self.slot_length = num_slots, slot_length
        size = (shape.num_layers, num_slots, shape.num_kv_heads, slot_length, shape.head_dim)
        self._buffers = tuple(ReclaimableTensor(size, device, dtype) for _ in range(2))
        self.keys, self.values = (buffer.tensor for buffer in self._buffers)
        self._resident_positions = [0] * num_slots  # positions of each slot that occupy memory
        self._head_indices = torch.arange(shape.num_kv_heads, device=device)
        self._flat_views = [
            tuple(tensor[i].view(-1, shape.head_dim) for tensor in (self.keys, self.values)) for i in range(size[0])
        ]

    def load_states(self, slot: int, start: int, states: Float[Tensor, "L 2 G n D"]) -> None:
        """Write keys and values to a slot, from position `start`."""
        positions = slice(start, start + states.shape[3])
        self._mark_resident(slot, positions.stop)
        self.keys[:, slot, :, positions] = states[:, 0]
        self.values[:, slot, :, positions] = states[:, 1]

    def read_states(self, slot: int, start: int, stop: int) -> Float[Tensor, "L 2 G n D"]:
        """Return a copy of the keys and values from position `start` to `stop`."""
        return torch.stack([tensor[:, slot, :, start:stop] for tensor in (self.keys, self.values)], dim=1)

    def move_slot(self, source: int, target: int, num_positions: int) -> None:
        """Copy a sequence to another slot."""
        for tensor in (self.keys, self.values):
            tensor[:, target, :, :num_positions] = tensor[:, source, :, :num_positions]
        self._mark_resident(target, num_positions)

    def release_tail(self, slot: int, num_positions: int) -> None:
        """Return the memory of a slot after `num_positions` to the system, but keep `RETAINED_POSITIONS`."""
        end = max(num_positions, RETAINED_POSITIONS)
        if self._resident_positions[slot] <= end:
            return
        for buffer in self._buffers:
            buffer.release_memory(buffer.tensor[:, slot, :, end : self._resident_positions[slot]].flatten(-2))
        self._resident_positions[slot] = end

    def zero_slot(self, slot: int) -> None:
        """Clear a slot, whose numbers may not be finite: masked positions are multiplied by zero, which keeps NaN."""
        for tensor in (self.keys, self.values):
            tensor[:, slot, :, : self._resident_positions[slot]] = 0

    def _mark_resident(self, slot: int, num_positions: int) -> None:
        self._resident_positions[slot] = max(self._resident_positions[slot], num_positions)

    def reserve_segments(self, segments: Sequence[TokenSegment]) -> None:
        """Record that the positions of segments are about to be written."""
        for segment in segments:
            self._mark_resident(segment.slot, segment.num_past_positions + segment.num_tokens)

    def compute_flat_indices(self, segments: Sequence[TokenSegment]) -> Int[Tensor, "T_G"]:
        """Return the indices of the segments' tokens in a layer's memory, viewed as a list of positions by head."""
        device = self._head_indices.device
        positions = torch.cat(
            [
                torch.arange(segment.num_past_positions, segment.num_past_positions + segment.num_tokens, device=device)
                + segment.slot * len(self._head_indices) * self.slot_length
                for segment in segments
            ]
        )
        return (positions.unsqueeze(1) + self._head_indices * self.slot_length).flatten()

    def build_additive_mask(self, visible: Bool[Tensor, "T S"]) -> Float[Tensor, "T S"]:
        """Return a mask to add to attention scores: 0 for visible positions, else -inf."""
        zeros = torch.zeros(visible.shape, device=visible.device, dtype=self.keys.dtype)
        return zeros.masked_fill(~visible, float("-inf"))

    def write_tokens(
        self, layer: int, flat_indices: Int[Tensor, "T_G"], keys: Float[Tensor, "G T D"], values: Float[Tensor, "G T D"]
    ) -> None:
        """Write new keys and values of a layer at flat indices."""
        for memory, states in zip(self._flat_views[layer], (keys, values), strict=True):
            memory.index_copy_(0, flat_indices, states.transpose(0, 1).reshape(-1, states.shape[-1]).to(memory.dtype))
