"""Where a prefix goes: which of its heads to which worker, which of its positions to which slot. Knows no vLLM."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softprompt.errors import SettingError

_LAYER_INDEX_PATTERN = re.compile(r"(?<=\.)\d+(?=\.)")


def get_local_kv_heads(num_kv_heads: int, rank: int, world_size: int) -> slice:
    """The key/value heads that a worker has, as vLLM shares them out.

    With fewer heads than workers, neighbours have the same one.

    Raises:
        SettingError: they cannot be shared out evenly.
    """
    if num_kv_heads % world_size and world_size % num_kv_heads:
        raise SettingError(f"{num_kv_heads} key/value heads cannot be shared out among {world_size} workers")
    if world_size >= num_kv_heads:
        first = rank // (world_size // num_kv_heads)
        return slice(first, first + 1)
    each = num_kv_heads // world_size
    return slice(rank * each, (rank + 1) * each)


def to_cache_layout(prefix: Float[Tensor, "L 2 G P D"], heads: slice, dtype: torch.dtype) -> Float[Tensor, "L 2 P g D"]:
    """A worker's share of a prefix, positions in front of heads, as a cache takes them."""
    return prefix[:, :, heads].transpose(2, 3).to(dtype).contiguous()


def compute_slot_mapping(start: int, end: int, block_ids: Sequence[int], block_size: int) -> Int[Tensor, "p"]:
    """The slots of a row's positions from `start` on, up to but excluding `end`.

    Args:
        start: first position.
        end: position after the last one.
        block_ids: block ids of the sequence, from its first position.
        block_size: slots of a block.
    """
    positions = torch.arange(start, end)
    return torch.tensor(block_ids, dtype=torch.int64)[positions // block_size] * block_size + positions % block_size


def select_block_ids(start: int, end: int, block_ids: Sequence[int], block_size: int) -> list[int]:
    """The blocks that hold a row's positions from `start` on, up to but excluding `end`."""
    return list(block_ids[start // block_size : -(-end // block_size)])


def extract_layer_index(layer_name: str) -> int:
    """Which layer of the model is meant by a name of vLLM's, `model.layers.7.self_attn.attn`.

    Raises:
        SettingError: it tells no number, or several.
    """
    numbers = _LAYER_INDEX_PATTERN.findall(layer_name)
    if len(numbers) != 1:
        raise SettingError(f"{layer_name} does not tell which layer it is of")
    return int(numbers[0])
