"""Weights in huge pages, which need fewer page-table lookups when a step reads all weights.

Measured on two cores with `smollm2-135m` (540 MB), steps are 1 to 3% faster. Linux only; weights that the kernel does
not move stay unchanged.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable

import torch
from torch import Tensor

HUGE_PAGE_BYTES = 2**21  # the next page size above 4 KiB on x86
MADV_COLLAPSE = 25  # since Linux 6.1; Python's mmap lacks the constant


def collapse_into_huge_pages(packed_weights: Iterable[Tensor]) -> None:
    """Ask the kernel to move the memory of packed weights into huge pages.

    Args:
        packed_weights: weights in oneDNN's layout.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    for weight in packed_weights:
        start, size = torch.ops.mkldnn.data_ptr(weight), torch.ops.mkldnn._nbytes(weight)
        if size < HUGE_PAGE_BYTES:
            continue
        for page in range(start // HUGE_PAGE_BYTES * HUGE_PAGE_BYTES, start + size, HUGE_PAGE_BYTES):
            # Errors are ignored: this is only advice to the kernel.
            advise(ctypes.c_void_p(page), ctypes.c_size_t(HUGE_PAGE_BYTES), MADV_COLLAPSE)
