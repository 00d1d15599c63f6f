"""Random permutations, each from a stream of its own, so that no choice of a run depends on another one."""

from __future__ import annotations

from enum import IntEnum

import torch
from jaxtyping import Int
from torch import Tensor


class RandomStream(IntEnum):
    """Streams of random numbers. The streams 0, 1, … are those of epochs, and -1, -2, … those of buckets."""

    VALIDATION_SPLIT = 2**40
    INIT_SAMPLE = 2**41
    VALIDATION_SAMPLE = 3 * 2**40
    TRAIN_SUBSET = 2**42


def draw_permutation(count: int, seed: int, stream: int) -> list[int]:
    """Return a random permutation of 0 to `count` - 1, which depends on the seed and the stream."""
    order: list[int] = draw_permutation_tensor(count, seed, stream).tolist()
    return order


def draw_permutation_tensor(count: int, seed: int, stream: int) -> Int[Tensor, "N"]:
    """Return the permutation of `draw_permutation` as a tensor, which takes less memory."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + stream) % 2**63)
    return torch.randperm(count, generator=generator)
