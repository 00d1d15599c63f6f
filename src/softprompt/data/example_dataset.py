"""A sequence of examples that are read from their source on access."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

from softprompt.data.example import Example
from softprompt.data.formats.record_formats import RecordFormat
from softprompt.data.sources.records import RecordSource
from softprompt.errors import RecordError


@dataclass(frozen=True)
class RecordMapping:
    """The mapping from records to examples.

    Attributes:
        format: the record format, which gives the fields their meaning.
        column_map: column names of the records by field names of the format, where the two differ.
        ignored_columns: columns to drop because they carry no data, such as a pandas index.
    """

    format: RecordFormat
    column_map: Mapping[str, str] = field(default_factory=dict)
    ignored_columns: tuple[str, ...] = ()

    def to_example(self, record: Any, location: str) -> Example:
        """Convert a record to an example.

        Raises:
            RecordError: the record does not have this format.
        """
        return Example(self.format.normalize_record(self.map_fields(record, location), location), location)

    def map_fields(self, record: Any, location: str) -> dict[str, Any]:
        """Return the fields of a record under the format's names, before the format normalizes them.

        Raises:
            RecordError: the record is not an object with named fields.
        """
        fields = rename_fields(record, location, self.column_map)
        return (
            {name: fields[name] for name in fields if name not in self.ignored_columns}
            if self.ignored_columns
            else fields
        )


def rename_fields(record: Any, location: str, column_map: Mapping[str, str]) -> dict[str, Any]:
    """Rename the fields of a record from its column names to the format's field names. Missing columns are skipped.

    Raises:
        RecordError: the record is not an object with named fields.
    """
    if not isinstance(record, dict):
        raise RecordError(location, f"expected an object with named fields, found {type(record).__name__}")
    renamed = {field_name: record[column] for field_name, column in column_map.items() if column in record}
    return (
        {**{name: value for name, value in record.items() if name not in column_map.values()}, **renamed}
        if renamed
        else record
    )


@dataclass(frozen=True, eq=False)
class ExampleDataset(Sequence[Example]):
    """A lazy sequence of examples. Only the record indices are kept in memory.

    Attributes:
        records: the source that records are read from.
        mapping: the mapping from records to examples.
        indices: indices of the records that belong to this dataset.
        digest: SHA-256 over the content of all records of the source.
    """

    records: RecordSource
    mapping: RecordMapping
    indices: Sequence[int]
    digest: str = ""

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Example]:
        for index, record in zip(self.indices, self.records.read_records(self.indices), strict=True):
            yield self.mapping.to_example(record, self.records.format_location(index))

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> ExampleDataset: ...
    def __getitem__(self, index: int | slice) -> Example | ExampleDataset:
        if isinstance(index, slice):
            return replace(self, indices=self.indices[index])
        record_index = self.indices[index]
        return self.mapping.to_example(self.records[record_index], self.records.format_location(record_index))

    @property
    def summary(self) -> str:
        """One line that describes the data: `train.csv: classification (text, label), 2,000 examples`."""
        fields = ", ".join(self[0].fields)
        return f"{self.records.name}: {self.mapping.format.name} ({fields}), {len(self):,} examples"

    def select(self, indices: Sequence[int]) -> ExampleDataset:
        """Return a dataset of the examples at these indices, in this order."""
        return replace(self, indices=array("Q", [self.indices[i] for i in indices]))
