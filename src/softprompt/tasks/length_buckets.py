"""Which sequences share a forward pass."""

from __future__ import annotations

from collections.abc import Sequence

from softprompt.model import ForwardBudget, FrozenModel


def bucket_by_length(lengths: Sequence[int], model: FrozenModel, max_batch_size: int | None = None) -> list[list[int]]:
    """Group example indices into forward passes by length, so that padding costs less than another forward pass.

    Args:
        lengths: length of each example, in tokens.
        model: model whose `forward_budget` applies; a longer example gets its own pass.
        max_batch_size: largest number of examples in a pass; None for no limit.
    """
    budget = model.forward_budget
    buckets: list[list[int]] = []
    padding = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        bucket = buckets[-1] if buckets else []
        padding += len(bucket) * (lengths[index] - lengths[bucket[-1]]) if bucket else 0
        may_grow = bucket and len(bucket) != max_batch_size
        if may_grow and fits_one_pass(budget, len(bucket) + 1, lengths[index], padding):
            bucket.append(index)
        else:
            buckets.append([index])
            padding = 0
    return buckets


def fits_one_pass(budget: ForwardBudget, num_sequences: int, length: int, padding: int) -> bool:
    """Return whether sequences may share a pass: it holds them, and padding them costs less than another pass.

    Args:
        budget: cost and limit of a pass.
        num_sequences: number of sequences, B.
        length: length to which they are padded, T, in tokens.
        padding: number of padding tokens that sharing the pass costs.
    """
    return num_sequences * length <= budget.max_tokens and padding <= budget.overhead
