"""The layout puts each head and position of a prefix where vLLM itself would put it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.errors import SettingError
from softprompt.vllm.kv_layout import (
    compute_slot_mapping,
    extract_layer_index,
    get_local_kv_heads,
    select_block_ids,
    to_cache_layout,
)


@pytest.mark.parametrize(("heads", "ranks"), [(8, 1), (8, 2), (8, 8), (3, 3), (2, 4), (1, 8), (4, 8)])
def test_workers_together_have_all_heads(heads: int, ranks: int) -> None:
    shares = [get_local_kv_heads(heads, rank, ranks) for rank in range(ranks)]
    held = [head for share in shares for head in range(heads)[share]]
    times = max(1, ranks // heads)
    assert held == [head for head in range(heads) for _ in range(times)]


def test_consecutive_workers_share_a_head_if_there_are_fewer_heads_than_workers() -> None:
    assert [get_local_kv_heads(2, rank, 4).start for rank in range(4)] == [0, 0, 1, 1]


@pytest.mark.parametrize(("heads", "ranks"), [(8, 3), (3, 8), (6, 4)])
def test_uneven_division_of_heads_is_rejected(heads: int, ranks: int) -> None:
    with pytest.raises(SettingError, match="cannot be divided"):
        get_local_kv_heads(heads, 0, ranks)


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_caches_of_simulated_workers_join_to_the_whole_prefix(ranks: int) -> None:
    """Each worker has a cache of its own heads; joined they are what one worker with all heads has."""
    L, G, P, D, size = 2, 4, 11, 3, 4
    prefix = torch.randn(L, 2, G, P, D)
    blocks = [5, 0, 3]
    heads_per_worker = max(1, G // ranks)
    caches = [torch.zeros(L, 2, 6 * size, heads_per_worker, D) for _ in range(ranks)]
    for rank, cache in enumerate(caches):
        share = to_cache_layout(prefix, get_local_kv_heads(G, rank, ranks), torch.float32)
        assert share.is_contiguous()
        for first, last in ((0, 8), (8, P)):  # as if the second part were loaded for another request
            cache[:, :, compute_slot_mapping(first, last, blocks, size)] = share[:, :, first:last]
    whole = torch.cat(caches[:: max(1, ranks // G)], dim=3)
    for position in range(P):
        slot = blocks[position // size] * size + position % size
        assert torch.equal(whole[:, :, slot], prefix[:, :, :, position])
    assert whole.count_nonzero() == prefix.count_nonzero()


def test_layout_has_the_precision_of_the_cache() -> None:
    share = to_cache_layout(torch.randn(1, 2, 2, 3, 4), slice(0, 1), torch.bfloat16)
    assert share.shape == (1, 2, 3, 1, 4)
    assert share.dtype == torch.bfloat16


@given(st.integers(0, 70), st.integers(1, 70), st.sampled_from([1, 16, 32]))
def test_positions_are_mapped_to_slots_and_blocks(first: int, count: int, size: int) -> None:
    blocks = [(7 * number + 3) % 1000 for number in range(-(-(first + count) // size))]
    slots = compute_slot_mapping(first, first + count, blocks, size).tolist()
    positions = range(first, first + count)
    assert slots == [blocks[position // size] * size + position % size for position in positions]
    held = select_block_ids(first, first + count, blocks, size)
    assert held == list(dict.fromkeys(slot // size for slot in slots))


def test_layer_index_is_extracted_from_the_name() -> None:
    assert extract_layer_index("model.layers.7.self_attn.attn") == 7
    assert extract_layer_index("transformer.h.11.attn") == 11


@pytest.mark.parametrize("name", ["lm_head", "model.layers.1.blocks.2.attn"])
def test_ambiguous_layer_name_is_rejected(name: str) -> None:
    with pytest.raises(SettingError, match="exactly one index"):
        extract_layer_index(name)
