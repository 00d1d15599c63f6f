"""Rows in tokens, made when they are asked for: only how long each is stays in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from typing import overload

from softprompt.data import Example
from softprompt.tasks import Objective, Row
from softprompt.training.mixture import Mixture


@dataclass(frozen=True, eq=False)
class EncodedRows(Sequence[Row]):
    """Examples as rows of a task.

    Attributes:
        objective: puts an example in tokens.
        examples: what the rows are made of.
        lengths: each row's tokens.
        cut: of how many rows the text was cut.
        lost: the rows of which what is to be learnt was cut away.
        mixture: which task each row is of, where several are learnt together.
    """

    objective: Objective
    examples: Sequence[Example]
    lengths: Sequence[int]
    cut: int
    lost: Sequence[int] = ()
    mixture: Mixture | None = None

    @classmethod
    def of(cls, objective: Objective, examples: Sequence[Example], mixture: Mixture | None = None) -> EncodedRows:
        """Rows, each encoded once to learn its length.

        Raises:
            RowError: an example does not fit the task, or is of none that is learnt.
        """
        lengths, lost, cut = array("L"), array("L"), 0
        for index, row in enumerate(encode_rows(objective, examples, mixture)):
            lengths.append(len(row))
            cut += row.cut
            if row.lost:
                lost.append(index)
        return cls(objective, examples, lengths, cut, lost, mixture)

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return list(encode_rows(self.objective, self.examples[index], self.mixture))
        return self._row(self.examples[index])

    def _row(self, example: Example) -> Row:
        return next(encode_rows(self.objective, [example], self.mixture))


def encode_rows(objective: Objective, examples: Iterable[Example], mixture: Mixture | None = None) -> Iterator[Row]:
    """Examples as rows, each with its task where several are learnt together.

    Raises:
        RowError: an example does not fit the task, or is of none that is learnt.
    """
    if mixture is None:
        return objective.encode_all(examples)
    encoded, named = tee(examples)
    rows = zip(objective.encode_all(encoded), named, strict=True)
    return (replace(row, task=mixture.index(example)) for row, example in rows)
