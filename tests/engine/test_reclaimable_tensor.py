"""Memory is occupied when it is first written, and released in parts."""

from __future__ import annotations

import mmap

import psutil
import pytest
import torch

from softprompt.engine.reclaimable_tensor import ReclaimableTensor

CPU = torch.device("cpu")
MIB = 2**20


def get_resident_mib() -> float:
    """Return the resident memory of this process in MiB."""
    return float(psutil.Process().memory_info().rss) / MIB


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system takes no memory back")
def test_released_memory_is_not_resident() -> None:
    before = get_resident_mib()
    reclaimable = ReclaimableTensor((4, 8, 2, MIB), CPU, torch.float32)  # 256 MiB
    assert get_resident_mib() - before < 32
    reclaimable.tensor[:, :4] = 1.0
    assert get_resident_mib() - before > 96
    reclaimable.release_memory(reclaimable.tensor[:, :4, :, 1000:])
    assert get_resident_mib() - before < 32
    assert bool((reclaimable.tensor[:, :4, :, :1000] == 1).all())
    assert bool((reclaimable.tensor[:, :4, :, 2048 : MIB - 2048] == 0).all())


def test_releasing_keeps_neighbouring_data() -> None:
    reclaimable = ReclaimableTensor((3, 5, 2000), CPU, torch.float32)
    reclaimable.tensor[:] = 7.0
    reclaimable.release_memory(reclaimable.tensor[:, 1:4:2, 100:1900])
    kept = torch.ones(3, 5, 2000, dtype=torch.bool)
    kept[:, 1:4:2, 100:1900] = False
    assert bool((reclaimable.tensor[kept] == 7).all())
