"""Bucket examples by length for forward passes."""

from __future__ import annotations

from collections.abc import Sequence

from softprompt.model import FrozenModel


def bucket_by_length(lengths: Sequence[int], model: FrozenModel, max_batch_size: int | None = None) -> list[list[int]]:
    """Group example indices into forward passes by length, so that padding costs less than another forward pass.

    Args:
        lengths: length of each example, in tokens.
        model: model whose `forward_budget` applies; a longer example gets its own pass.
        max_batch_size: largest number of examples in a pass; None for no limit.
    """
    buckets: list[list[int]] = []
    padding = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        last_bucket = buckets[-1] if buckets else []
        padding += len(last_bucket) * (lengths[index] - lengths[last_bucket[-1]]) if last_bucket else 0
        fits = (
            len(last_bucket) != max_batch_size
            and (len(last_bucket) + 1) * lengths[index] <= model.forward_budget.max_tokens
        )
        if last_bucket and fits and padding <= model.forward_budget.overhead:
            last_bucket.append(index)
        else:
            buckets.append([index])
            padding = 0
    return buckets
