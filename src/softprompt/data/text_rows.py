"""Rows of a text file, each a span of its bytes that is parsed when it is asked for. Knows no file format."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, final

from softprompt.data.rows import Rows
from softprompt.errors import DataError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Parse = Callable[[str, str], Any]
"""A row's text and where it stands to the row."""


@final
class TextRows(Rows):
    """Rows that begin and end at known bytes.

    Args:
        path: the file.
        parse: what a row's text says.
    """

    def __init__(self, path: Path, parse: Parse):
        self.name, self.path, self.parse = str(path), path, parse
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
        return f"{self.path}:{self._lines[index]}"

    def read(self, indices: Iterable[int]) -> Iterator[Any]:
        """The rows with these numbers."""
        with opened(self.path) as file:
            for index in indices:
                begin = self._begins[index]
                file.seek(begin)
                text = decoded(file.read(self._ends[index] - begin), self.path, begin)
                yield self.parse(text, self.where(index))


def opened(path: Path) -> BinaryIO:
    """A file, open for reading.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Each line's number from 1, its first byte, and its bytes; without the byte-order mark.

    Only a line feed ends a line: a text may hold U+2028, which is no line end in JSONL.
    """
    begin = len(BYTE_ORDER_MARK) if file.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK else 0
    file.seek(begin)
    for number, line in enumerate(file, start=1):
        yield number, begin, line
        begin += len(line)


def decoded(content: bytes, path: Path, begin: int = 0) -> str:
    """The text of bytes that stand at byte `begin` of a file.

    Raises:
        DataError: they are not UTF-8; says which encoding they may be.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        at = begin + error.start
        raise DataError(f"{path}: not UTF-8 at byte {at}: save it as UTF-8{_guess(content, at)}") from error


def _guess(content: bytes, at: int) -> str:
    """What the encoding may be: of those that are met, the two that can be told."""
    if at == 0 and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return " (it begins as UTF-16)"
    try:
        chinese = sum("\u4e00" <= character <= "\u9fff" for character in content.decode("gb18030"))
    except UnicodeDecodeError:
        return ""
    return " (it reads as GB18030: iconv -f GB18030 -t UTF-8)" if chinese else ""
