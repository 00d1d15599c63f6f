"""Rows in arrays are the rows that were put in."""

from __future__ import annotations

import pytest

from softprompt.tasks import Row
from softprompt.tasks.compact_rows import CompactRows
from softprompt.tasks.passage import Passage

ROWS = [
    Row([1, -1, 2], [], 1),
    Row([5], [6, 7, 8], cut=True, learnt=(0, 2)),
    Row([], [], tail=[9, 10], task=3),
    Row([3, 4], [], targets=(1, 0), answers=("a", "b"), passage=Passage("ab", (0, 1), ((0, 1), (1, 2))), lost=True),
]


def test_each_row_comes_back_as_it_was() -> None:
    rows = CompactRows(iter(ROWS))
    assert list(rows) == ROWS
    assert [rows[i] for i in range(-4, 4)] == [*ROWS, *ROWS]
    assert rows[1::2] == ROWS[1::2]
    assert list(rows.lengths) == [len(row) for row in ROWS]
    assert rows.num_cut == 1


def test_a_row_that_is_not_there_is_an_error() -> None:
    with pytest.raises(IndexError):
        CompactRows(ROWS)[4]


def test_a_row_of_a_classification_is_kept_without_objects_of_its_own() -> None:
    rows = CompactRows(Row([7] * 50, [], label) for label in (0, 1, 2))
    assert rows._others == {}
    assert rows._ids.itemsize == 4
    assert len(rows._ids) == 150
