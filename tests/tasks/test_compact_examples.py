"""Compact examples are rebuilt as they were stored."""

from __future__ import annotations

import pytest

from softprompt.tasks import EncodedExample, LabelTarget, ResponseTarget, SpanTarget, TagTargets
from softprompt.tasks.compact_examples import CompactExamples
from softprompt.tasks.encoded_example import AlignedExample
from softprompt.tasks.templates.token_alignment import TokenAlignment

ALIGNMENT = TokenAlignment("ab", (0, 1), ((0, 1), (1, 2)))
ROWS = [
    EncodedExample([1, -1, 2], LabelTarget(1)),
    EncodedExample([5], ResponseTarget((6, 7, 8), (0, 2)), is_truncated=True),
    EncodedExample([5, 6], ResponseTarget.from_tokens([7, 8])),
    EncodedExample([5, 6], ResponseTarget.from_tokens([])),
    EncodedExample([], suffix_ids=[9, 10], task_index=3),
    AlignedExample([3, 4], SpanTarget(("a", "b"), None), alignment=ALIGNMENT),
    AlignedExample([3, 4], TagTargets((1, 0)), alignment=ALIGNMENT, task_index=1),
    AlignedExample([3, 4], alignment=ALIGNMENT, is_truncated=True),
]


def test_compact_examples_round_trip() -> None:
    rows = CompactExamples(iter(ROWS))
    assert list(rows) == ROWS
    assert [rows[i] for i in range(-len(ROWS), len(ROWS))] == [*ROWS, *ROWS]
    assert rows[1::2] == ROWS[1::2]
    assert list(rows.lengths) == [len(row) for row in ROWS]
    assert rows.num_truncated == 2


def test_out_of_range_index_raises_an_index_error() -> None:
    with pytest.raises(IndexError):
        CompactExamples(ROWS)[len(ROWS)]


def test_classification_examples_store_no_rare_fields() -> None:
    rows = CompactExamples(EncodedExample([7] * 50, LabelTarget(label)) for label in (0, 1, 2))
    assert not rows._loss_positions
    assert not rows._other_supervision
    assert not rows._alignments
    assert not rows._task_indices
    assert rows._token_ids.itemsize == 4
    assert len(rows._token_ids) == 150
