"""Peak memory since the last reset."""

from __future__ import annotations

import torch

from softprompt.comparison.runs.peak_memory import get_peak_memory_bytes, reset_peak_memory
from tests.warm import exit_code

CPU = torch.device("cpu")
MEGABYTE = 2**20


def test_peak_memory_includes_freed_memory_until_the_reset() -> None:
    """Runs in another process, since memory of other tests may be freed at any moment."""
    assert exit_code(_see_and_forget) == 0


def _see_and_forget() -> None:
    reset_peak_memory(CPU)
    before = get_peak_memory_bytes(CPU)
    assert before is not None
    block = torch.ones(64 * MEGABYTE, dtype=torch.uint8)
    with_block = get_peak_memory_bytes(CPU)
    assert with_block is not None
    assert with_block >= before + 60 * MEGABYTE
    del block
    assert (
        abs((get_peak_memory_bytes(CPU) or 0) - with_block) < 4 * MEGABYTE
    )  # it was a peak; the kernel counts in batches
    reset_peak_memory(CPU)
    after = get_peak_memory_bytes(CPU)
    assert after is not None
    assert after < with_block - 40 * MEGABYTE
