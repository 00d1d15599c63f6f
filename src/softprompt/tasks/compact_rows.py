"""Many rows in little memory: their ids in arrays of 32-bit integers, and objects for what few rows have besides."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, overload

from softprompt.tasks.objective import Row

DEFAULTS: dict[str, Any] = {"learnt": None, "passage": None, "targets": (), "answers": (), "lost": False, "task": 0}


class CompactRows(Sequence[Row]):
    """Rows by number, as a list has them; each is made anew when it is asked for.

    A hundred thousand rows of fifty tokens take 25 MB; as lists of Python's integers they would take 200.

    Args:
        rows: each is looked at once, and not kept.
    """

    def __init__(self, rows: Iterable[Row]):
        self._ids = array("i")
        self._ends = array("Q", [0])  # of prompt, response and tail of each row
        self._labels, self._cut = array("i"), bytearray()
        self._others: dict[int, dict[str, Any]] = {}
        for row in rows:
            self._add(row)

    def _add(self, row: Row) -> None:
        for ids in (row.prompt, row.response, row.tail):
            self._ids.extend(ids)
            self._ends.append(len(self._ids))
        if others := {name: getattr(row, name) for name, usual in DEFAULTS.items() if getattr(row, name) != usual}:
            if row.learnt is not None:
                others["learnt"] = array("i", row.learnt)
            self._others[len(self._labels)] = others
        self._labels.append(row.label)
        self._cut.append(row.cut)

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def lengths(self) -> Sequence[int]:
        """Each row's tokens."""
        return array("Q", [self._ends[3 * i + 3] - self._ends[3 * i] for i in range(len(self))])

    @property
    def num_cut(self) -> int:
        """Of how many rows text was cut."""
        return sum(self._cut)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        numbers = range(len(self))[index]
        return [self._row(number) for number in numbers] if isinstance(numbers, range) else self._row(numbers)

    def _row(self, number: int) -> Row:
        ends = self._ends[3 * number : 3 * number + 4]
        prompt, response, tail = (self._ids[begin:end].tolist() for begin, end in pairwise(ends))
        others = dict(self._others.get(number, ()))
        if "learnt" in others:
            others["learnt"] = tuple(others["learnt"])
        return Row(prompt, response, self._labels[number], bool(self._cut[number]), tail=tail, **others)
