"""Memory is taken where it is touched, and given back."""

from __future__ import annotations

import mmap

import psutil
import pytest
import torch

from softprompt.engine.room import Room

CPU = torch.device("cpu")
MIB = 2**20


def resident() -> float:
    """MiB that this process has in memory."""
    return float(psutil.Process().memory_info().rss) / MIB


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system takes no memory back")
def test_what_is_given_back_takes_no_memory() -> None:
    before = resident()
    room = Room((4, 8, 2, MIB), CPU, torch.float32)  # 256 MiB
    assert resident() - before < 32
    room.tensor[:, :4] = 1.0
    assert resident() - before > 96
    room.give_back(room.tensor[:, :4, :, 1000:])
    assert resident() - before < 32
    assert bool((room.tensor[:, :4, :, :1000] == 1).all())
    assert bool((room.tensor[:, :4, :, 2048 : MIB - 2048] == 0).all())


def test_neighbours_are_left_alone() -> None:
    room = Room((3, 5, 2000), CPU, torch.float32)
    room.tensor[:] = 7.0
    room.give_back(room.tensor[:, 1:4:2, 100:1900])
    kept = torch.ones(3, 5, 2000, dtype=torch.bool)
    kept[:, 1:4:2, 100:1900] = False
    assert bool((room.tensor[kept] == 7).all())
