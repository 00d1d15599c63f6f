"""Rows as a file, a folder or the Hub holds them, read when they are asked for. Knows nothing of what they mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, final


class Rows(ABC):
    """N rows by number; only where they stand is kept, so there may be more than fit in memory.

    Attributes:
        name: of what they are read from.
    """

    name: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def where(self, index: int) -> str:
        """Where a row stands (`train.jsonl:12`), for messages about it."""

    @abstractmethod
    def read(self, indices: Iterable[int]) -> Iterator[Any]:
        """The rows with these numbers, in this order; it is not checked yet that they are objects with named fields.

        Raises:
            DataError: they cannot be read any more.
            RowError: one is malformed.
        """

    def __getitem__(self, index: int) -> Any:
        return next(iter(self.read([index])))


@final
class ListedRows(Rows):
    """Rows that are in memory: a JSON list has no place to begin reading in its middle."""

    def __init__(self, name: str, rows: list[Any]):
        self.name, self.rows = name, rows

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, index: int) -> str:
        """The file and the row's number, from 1."""
        return f"{self.name}, row {index + 1}"

    def read(self, indices: Iterable[int]) -> Iterator[Any]:
        """The rows with these numbers."""
        return (self.rows[index] for index in indices)
