"""Weights in huge pages, where the system supports them."""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from pathlib import Path

import pytest
import torch

from softprompt.model.hooks.packed_layers import PackedLinear
from softprompt.model.huge_pages import HUGE_PAGE_BYTES, MADV_COLLAPSE, collapse_into_huge_pages


def can_collapse() -> bool:
    """Return whether this system supports collapsing into huge pages."""
    if sys.platform != "linux":
        return False
    with mmap.mmap(-1, 2 * HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(bytes(2 * HUGE_PAGE_BYTES))
        inside = ctypes.c_char.from_buffer(memory)
        start = -(-ctypes.addressof(inside) // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        del inside
        return ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(HUGE_PAGE_BYTES), MADV_COLLAPSE) == 0


def in_large_pages() -> int:
    """Return the KiB of this process that are in huge pages."""
    [size] = re.findall(r"^AnonHugePages:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.M)
    return int(size)


def test_weights_moved_into_huge_pages_keep_their_values() -> None:
    torch.manual_seed(0)
    linear, states = PackedLinear(torch.randn(2048, 2048)), torch.randn(3, 2048)
    before = linear(states)
    collapse_into_huge_pages([linear.weight])
    assert torch.equal(linear(states), before)


@pytest.mark.skipif(not can_collapse(), reason="the system has no large pages for us")
def test_most_of_a_large_weight_is_moved_into_huge_pages() -> None:
    linear = PackedLinear(torch.randn(4096, 2048))  # 32 MiB
    before = in_large_pages()
    collapse_into_huge_pages([linear.weight])
    assert in_large_pages() - before >= 24 * 1024


def test_small_weights_are_not_moved_into_huge_pages() -> None:
    linear = PackedLinear(torch.randn(64, 64))
    before = in_large_pages()
    collapse_into_huge_pages([linear.weight])
    assert in_large_pages() == before
