"""Rows in arrays are the rows that were put in."""

from __future__ import annotations

import pytest

from softprompt.tasks import EncodedExample
from softprompt.tasks.compact_examples import CompactExamples
from softprompt.tasks.templates.token_alignment import TokenAlignment

ROWS = [
    EncodedExample([1, -1, 2], [], 1),
    EncodedExample([5], [6, 7, 8], is_truncated=True, supervised_positions=(0, 2)),
    EncodedExample([], [], suffix_ids=[9, 10], task_index=3),
    EncodedExample(
        [3, 4],
        [],
        target_indices=(1, 0),
        reference_answers=("a", "b"),
        alignment=TokenAlignment("ab", (0, 1), ((0, 1), (1, 2))),
        is_target_truncated=True,
    ),
]


def test_examples_round_trip() -> None:
    rows = CompactExamples(iter(ROWS))
    assert list(rows) == ROWS
    assert [rows[i] for i in range(-4, 4)] == [*ROWS, *ROWS]
    assert rows[1::2] == ROWS[1::2]
    assert list(rows.lengths) == [len(row) for row in ROWS]
    assert rows.num_truncated == 1


def test_out_of_range_index_raises() -> None:
    with pytest.raises(IndexError):
        CompactExamples(ROWS)[4]


def test_classification_examples_have_no_rare_fields() -> None:
    rows = CompactExamples(EncodedExample([7] * 50, [], label) for label in (0, 1, 2))
    assert rows._rare_fields == {}
    assert rows._token_ids.itemsize == 4
    assert len(rows._token_ids) == 150
