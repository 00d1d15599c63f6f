"""Rows of a text file, each a span of its bytes that is parsed when it is asked for. Knows no file format."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

from softprompt.data.rows import Rows
from softprompt.data.text_file import TextFile, opened

Parse = Callable[[str, str], Any]
"""A row's text and where it stands to the row."""


@final
class TextRows(Rows):
    """Rows that begin and end at known bytes.

    Args:
        file: what they are read from.
        parse: what a row's text says.
    """

    def __init__(self, file: TextFile, parse: Parse):
        self.name, self.file, self.parse = str(file.path), file, parse
        self._begins, self._ends, self._lines = array("Q"), array("Q"), array("Q")

    def add(self, begin: int, end: int, line: int) -> None:
        """One more row: its first byte, the byte behind its last, and its first line, counted from 1."""
        self._begins.append(begin)
        self._ends.append(end)
        self._lines.append(line)

    def __len__(self) -> int:
        return len(self._begins)

    def where(self, index: int) -> str:
        """The file and the row's first line."""
        return f"{self.name}:{self._lines[index]}"

    def text(self, index: int) -> str:
        """What a row says before it is parsed."""
        with opened(self.file.path) as file:
            return self.file.read(file, self._begins[index], self._ends[index])

    def read(self, indices: Iterable[int]) -> Iterator[Any]:
        """The rows with these numbers."""
        with opened(self.file.path) as file:
            for index in indices:
                yield self.parse(self.file.read(file, self._begins[index], self._ends[index]), self.where(index))
