"""Maps a prefix to vLLM's KV cache: heads to workers, positions to slots. Does not depend on vLLM."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softprompt.errors import SettingError

_LAYER_INDEX_PATTERN = re.compile(r"(?<=\.)\d+(?=\.)")


def get_local_kv_heads(num_kv_heads: int, rank: int, world_size: int) -> slice:
    """Return the key/value heads of a worker in vLLM's tensor parallelism.

    With fewer heads than workers, adjacent workers have the same head.

    Raises:
        SettingError: the heads cannot be distributed evenly.
    """
    if num_kv_heads % world_size and world_size % num_kv_heads:
        raise SettingError(
            f"{num_kv_heads} key/value heads cannot be divided evenly among {world_size} workers: change "
            "--tensor-parallel-size"
        )
    if world_size >= num_kv_heads:
        first = rank // (world_size // num_kv_heads)
        return slice(first, first + 1)
    heads_per_worker = num_kv_heads // world_size
    return slice(rank * heads_per_worker, (rank + 1) * heads_per_worker)


def to_cache_layout(prefix: Float[Tensor, "L 2 G P D"], heads: slice, dtype: torch.dtype) -> Float[Tensor, "L 2 P g D"]:
    """Select a worker's heads of a prefix, and order the dimensions as in the KV cache."""
    return prefix[:, :, heads].transpose(2, 3).to(dtype).contiguous()


def compute_slot_mapping(start: int, end: int, block_ids: Sequence[int], block_size: int) -> Int[Tensor, "p"]:
    """Compute the slots of a sequence's positions from `start` to `end`, exclusive.

    Args:
        start: first position.
        end: position after the last one.
        block_ids: block ids of the sequence, from its first position.
        block_size: number of slots of a block.
    """
    positions = torch.arange(start, end)
    return torch.tensor(block_ids, dtype=torch.int64)[positions // block_size] * block_size + positions % block_size


def select_block_ids(start: int, end: int, block_ids: Sequence[int], block_size: int) -> list[int]:
    """Select the blocks of a sequence's positions from `start` to `end`, exclusive."""
    return list(block_ids[start // block_size : -(-end // block_size)])


def extract_layer_index(layer_name: str) -> int:
    """Extract the layer index from vLLM's name of a layer, such as `model.layers.7.self_attn.attn`.

    Raises:
        SettingError: the name contains no number, or several.
    """
    numbers = _LAYER_INDEX_PATTERN.findall(layer_name)
    if len(numbers) != 1:
        raise SettingError(
            f"vLLM's layer name {layer_name} does not have exactly one index: this model is not supported"
        )
    return int(numbers[0])
