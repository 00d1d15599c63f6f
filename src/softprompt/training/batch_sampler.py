"""Batches of examples as a function of the seed and the step alone, so a resumed run needs no state of the sampler.

Each epoch has an order of its own. The examples of several steps form a bucket, which is sorted by length, so that
little is padded. Then the steps of a bucket are shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from softprompt.training.random_streams import draw_permutation, draw_permutation_tensor

#: Number of steps whose examples are sorted by length together.
BUCKET_STEPS = 8


class BatchSampler:
    """Sampler of the examples of each step, as indices.

    Args:
        lengths: Number of tokens of each example.
        examples_per_step: Number of examples per step.
        seed: Seed of the shuffling.
    """

    def __init__(self, lengths: Sequence[int], examples_per_step: int, seed: int):
        self.lengths, self.examples_per_step, self.seed = lengths, examples_per_step, seed
        self._cached_permutation = lru_cache(maxsize=4)(draw_permutation_tensor)  # an epoch may have millions

    def get_batch(self, step: int) -> list[int]:
        """Return the indices of the examples of a step, counted from 0."""
        bucket, position = divmod(step, BUCKET_STEPS)
        size = self.examples_per_step * BUCKET_STEPS
        sorted_indices = sorted(self._take_indices(bucket * size, size), key=self.lengths.__getitem__)
        batch = draw_permutation(BUCKET_STEPS, self.seed, stream=-1 - bucket)[position]
        return sorted_indices[batch * self.examples_per_step : (batch + 1) * self.examples_per_step]

    def _take_indices(self, start: int, count: int) -> list[int]:
        """Return `count` indices of the endless sequence of shuffled epochs, from `start` on."""
        total = len(self.lengths)
        first, last = start // total, (start + count - 1) // total
        indices: list[int] = []
        for epoch in range(first, last + 1):
            begin = max(start - epoch * total, 0)
            indices += self._cached_permutation(total, self.seed, epoch)[begin : start + count - epoch * total].tolist()
        return indices
