"""Batches of a request's texts, between which other tenants have their turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MAX_BATCH_CHARACTERS = 2**15  # characters that are tokenized before another tenant's turn
TEXT_OVERHEAD_CHARACTERS = 100  # fixed cost of a text, in characters


def split_into_batches(texts: Sequence[object]) -> list[range]:
    """Split the texts of a request into batches."""
    batches, first, cost = [], 0, 0
    for index, text in enumerate(texts):
        cost += _estimate_cost(text)
        if cost > MAX_BATCH_CHARACTERS and index > first:
            batches.append(range(first, index))
            first, cost = index, _estimate_cost(text)
    return [*batches, range(first, len(texts))]


def _estimate_cost(text: object) -> int:
    """Estimate the cost of tokenizing a text, its fields, or its tokens, in characters."""
    values = text.values() if isinstance(text, Mapping) else [text]
    return TEXT_OVERHEAD_CHARACTERS + sum(len(value) for value in values if isinstance(value, str | list | tuple))
