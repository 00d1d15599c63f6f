"""The examples of a file, read when they are asked for: what a row means and where it stands, joined."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

from softprompt.data.example import Example
from softprompt.data.formats import Format
from softprompt.data.rows import Rows
from softprompt.errors import RowError


@dataclass(frozen=True)
class Meaning:
    """How a row becomes an example.

    Attributes:
        format: what its fields are.
        names: our names of fields to the rows' own, where they differ.
        ignored: fields that say nothing about a row: a table's index.
    """

    format: Format
    names: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def example(self, row: Any, where: str) -> Example:
        """The example that a row is.

        Raises:
            RowError: the row is not of this format.
        """
        return Example(self.format.fields_of(self.fields(row, where), where), where)

    def fields(self, row: Any, where: str) -> dict[str, Any]:
        """A row's fields under our names, before the format reads them.

        Raises:
            RowError: it has no named fields.
        """
        fields = renamed(row, where, self.names)
        return {name: fields[name] for name in fields if name not in self.ignored} if self.ignored else fields


def renamed(row: Any, where: str, names: Mapping[str, str]) -> dict[str, Any]:
    """A row with its fields under our names, as far as it has them.

    Raises:
        RowError: it has no named fields.
    """
    if not isinstance(row, dict):
        raise RowError(where, f"expected an object with named fields, found {type(row).__name__}")
    taken = {ours: row[theirs] for ours, theirs in names.items() if theirs in row}
    return {**{name: value for name, value in row.items() if name not in names.values()}, **taken} if taken else row


@dataclass(frozen=True, eq=False)
class Examples(Sequence[Example]):
    """Examples by number, as a list has them, of which only the numbers are in memory.

    Attributes:
        rows: what they are read from.
        meaning: how a row becomes an example.
        indices: the numbers of the rows that are examples here.
        digest: names the content of all rows: SHA-256.
    """

    rows: Rows
    meaning: Meaning
    indices: Sequence[int]
    digest: str = ""

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Example]:
        for index, row in zip(self.indices, self.rows.read(self.indices), strict=True):
            yield self.meaning.example(row, self.rows.where(index))

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Examples: ...
    def __getitem__(self, index: int | slice) -> Example | Examples:
        if isinstance(index, slice):
            return replace(self, indices=self.indices[index])
        number = self.indices[index]
        return self.meaning.example(self.rows[number], self.rows.where(number))

    @property
    def summary(self) -> str:
        """What was found, in a line: `train.csv: classification (text, label), 2,000 rows`."""
        fields = ", ".join(self[0].fields)
        return f"{self.rows.name}: {self.meaning.format.name} ({fields}), {len(self):,} rows"

    def chosen(self, indices: Sequence[int]) -> Examples:
        """Those with these numbers, in this order."""
        return replace(self, indices=array("Q", [self.indices[i] for i in indices]))
