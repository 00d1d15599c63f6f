"""Which examples each step sees: a function of the seed and the step alone, so a resumed run needs no memory of it.

Epoch follows epoch, each in an order of its own. Of every few steps' examples the long are put with the long, so that
little is padded; then those steps are shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

POOLED_STEPS = 8


class Order:
    """The examples of each step, as indices.

    Args:
        lengths: each example's tokens.
        per_step: examples a step.
        seed: of the shuffling.
    """

    def __init__(self, lengths: Sequence[int], per_step: int, seed: int):
        self.lengths, self.per_step, self.seed = lengths, per_step, seed
        self._order = lru_cache(maxsize=4)(_order)  # an epoch of millions is not drawn anew for every step

    def step(self, number: int) -> list[int]:
        """The examples of step `number`, counted from 0."""
        pool, place = divmod(number, POOLED_STEPS)
        size = self.per_step * POOLED_STEPS
        pooled = sorted(self._drawn(pool * size, size), key=self.lengths.__getitem__)
        chosen = shuffled(POOLED_STEPS, self.seed, stream=-1 - pool)[place]
        return pooled[chosen * self.per_step : (chosen + 1) * self.per_step]

    def _drawn(self, start: int, count: int) -> list[int]:
        """`count` examples of the endless sequence of shuffled epochs, from `start` on."""
        total = len(self.lengths)
        first, last = start // total, (start + count - 1) // total
        drawn: list[int] = []
        for epoch in range(first, last + 1):
            begin = max(start - epoch * total, 0)
            drawn += self._order(total, self.seed, epoch)[begin : start + count - epoch * total].tolist()
        return drawn


def shuffled(count: int, seed: int, stream: int) -> list[int]:
    """0 to `count` - 1 in a random order, of which every seed and stream have their own.

    Streams 0, 1, … are epochs; -1, -2, … are pools.
    """
    order: list[int] = _order(count, seed, stream).tolist()
    return order


def _order(count: int, seed: int, stream: int) -> Int[Tensor, "N"]:
    generator = torch.Generator().manual_seed((seed * 1_000_003 + stream) % 2**63)
    return torch.randperm(count, generator=generator)
