"""Where a prefix goes: which of its heads to which worker, which of its positions to which slot. Knows no vLLM."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softprompt.errors import SettingError

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def own_heads(num_kv_heads: int, rank: int, ranks: int) -> slice:
    """The key/value heads that a worker has, as vLLM shares them out.

    With fewer heads than workers, neighbours have the same one.

    Raises:
        SettingError: they cannot be shared out evenly.
    """
    if num_kv_heads % ranks and ranks % num_kv_heads:
        raise SettingError(f"{num_kv_heads} key/value heads cannot be shared out among {ranks} workers")
    if ranks >= num_kv_heads:
        first = rank // (ranks // num_kv_heads)
        return slice(first, first + 1)
    each = num_kv_heads // ranks
    return slice(rank * each, (rank + 1) * each)


def laid_out(prefix: Float[Tensor, "L 2 G P D"], heads: slice, dtype: torch.dtype) -> Float[Tensor, "L 2 P g D"]:
    """A worker's share of a prefix, positions in front of heads, as a cache takes them."""
    return prefix[:, :, heads].transpose(2, 3).to(dtype).contiguous()


def slots(first: int, last: int, blocks: Sequence[int], block_size: int) -> Int[Tensor, "p"]:
    """The slots of a row's positions from `first` on, up to but not with `last`.

    Args:
        first: a position.
        last: another one.
        blocks: the row's blocks, from its first position on.
        block_size: slots of a block.
    """
    positions = torch.arange(first, last)
    return torch.tensor(blocks, dtype=torch.int64)[positions // block_size] * block_size + positions % block_size


def blocks_of(first: int, last: int, blocks: Sequence[int], block_size: int) -> list[int]:
    """The blocks that hold a row's positions from `first` on, up to but not with `last`."""
    return list(blocks[first // block_size : -(-last // block_size)])


def layer_number(name: str) -> int:
    """Which layer of the model is meant by a name of vLLM's, `model.layers.7.self_attn.attn`.

    Raises:
        SettingError: it tells no number, or several.
    """
    numbers = _NUMBER.findall(name)
    if len(numbers) != 1:
        raise SettingError(f"{name} does not tell which layer it is of")
    return int(numbers[0])
