"""Records of a text file, each a span of bytes that is parsed on access. This module knows no file format."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

from softprompt.data.sources.records import RecordSource
from softprompt.data.sources.text_file import TextFile, open_file

ParseRecord = Callable[[str, str], Any]
"""A function from the text and the location of a record to the parsed record."""


@final
class TextFileRecords(RecordSource):
    """A source of records at known byte ranges of a text file.

    Args:
        file: the text file.
        parse_record: function that parses the text of one record.
    """

    def __init__(self, file: TextFile, parse_record: ParseRecord):
        self.name, self.file, self.parse_record = str(file.path), file, parse_record
        self._starts, self._ends, self._line_numbers = array("Q"), array("Q"), array("Q")

    def add_span(self, start: int, end: int, line_number: int) -> None:
        """Append a record: its first byte, the byte after its last, and its first line, counted from 1."""
        self._starts.append(start)
        self._ends.append(end)
        self._line_numbers.append(line_number)

    def __len__(self) -> int:
        return len(self._starts)

    def format_location(self, index: int) -> str:
        """Return the file and the first line of the record."""
        return f"{self.name}:{self._line_numbers[index]}"

    def read_text(self, index: int) -> str:
        """Return the unparsed text of a record."""
        with open_file(self.file.path) as file:
            return self.file.read_text(file, self._starts[index], self._ends[index])

    def read_records(self, indices: Iterable[int]) -> Iterator[Any]:
        """Parse and return the records with these indices."""
        with open_file(self.file.path) as file:
            for index in indices:
                yield self.parse_record(
                    self.file.read_text(file, self._starts[index], self._ends[index]), self.format_location(index)
                )
