"""Rows in tokens, made when they are asked for: only how long each is stays in memory."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from softprompt.data import Example
from softprompt.tasks import Objective, Row


@dataclass(frozen=True, eq=False)
class EncodedRows(Sequence[Row]):
    """Examples as rows of a task.

    Attributes:
        objective: puts an example in tokens.
        examples: what the rows are made of.
        lengths: each row's tokens.
        cut: of how many rows the text was cut.
        lost: the rows of which what is to be learnt was cut away.
    """

    objective: Objective
    examples: Sequence[Example]
    lengths: Sequence[int]
    cut: int
    lost: Sequence[int] = ()

    @classmethod
    def of(cls, objective: Objective, examples: Sequence[Example]) -> EncodedRows:
        """Rows, each encoded once to learn its length.

        Raises:
            RowError: an example does not fit the task.
        """
        lengths, lost, cut = array("L"), array("L"), 0
        for index, example in enumerate(examples):
            row = objective.encode(example)
            lengths.append(len(row))
            cut += row.cut
            if row.lost:
                lost.append(index)
        return cls(objective, examples, lengths, cut, lost)

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self.objective.encode(example) for example in self.examples[index]]
        return self.objective.encode(self.examples[index])
