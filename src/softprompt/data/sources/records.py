"""Sources of records: a file, a folder or the Hub, read on access. This module does not interpret the fields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, final


class RecordSource(ABC):
    """A source of N records by index. Only record locations are kept in memory, so a source may be larger than memory.

    Attributes:
        name: name of the source, for messages.
    """

    name: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def format_location(self, index: int) -> str:
        """Return the location of a record (`train.jsonl:12`), for messages about the record."""

    @abstractmethod
    def read_records(self, indices: Iterable[int]) -> Iterator[Any]:
        """Read the records with these indices, in this order.

        Whether a record is an object with named fields is not checked here.

        Raises:
            DataError: the source can no longer be read.
            RecordError: a record is malformed.
        """

    def __getitem__(self, index: int) -> Any:
        return next(iter(self.read_records([index])))


@final
class InMemoryRecords(RecordSource):
    """A source of records that are all in memory. A JSON list, for example, cannot be read from its middle."""

    def __init__(self, name: str, records: list[Any]):
        self.name, self.records = name, records

    def __len__(self) -> int:
        return len(self.records)

    def format_location(self, index: int) -> str:
        """Return the file and the number of the record, counted from 1."""
        return f"{self.name}, row {index + 1}"

    def read_records(self, indices: Iterable[int]) -> Iterator[Any]:
        """Return the records with these indices."""
        return (self.records[index] for index in indices)
