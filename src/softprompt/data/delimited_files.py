"""CSV and TSV with a line of names on top. Every value is text, and a quoted one may go over several lines."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from softprompt.data.rows import Rows
from softprompt.data.text_rows import TextRows, decoded, lines, opened
from softprompt.errors import DataError, RowError

csv.field_size_limit(2**31 - 1)  # by default a text of 131,073 characters is an error


class _Consumed(Iterator[str]):
    """The lines of a file, as far as `csv` asked for them: where a row ends is known once it has been read."""

    def __init__(self, file: BinaryIO, path: Path):
        self.path, self.lines = path, lines(file)
        self.number, self.end = 0, 0

    def __next__(self) -> str:
        self.number, begin, line = next(self.lines)
        self.end = begin + len(line)
        return decoded(line, self.path, begin)


def read_delimited(path: Path, delimiter: str) -> Rows:
    """A row a record, blank lines left out; only where each begins is kept.

    Raises:
        DataError: the file cannot be opened, is not UTF-8, or its names are not all there and different.
        RowError: a record's quotes do not match.
    """
    with opened(path) as file:
        consumed = _Consumed(file, path)
        records = _reader(consumed, delimiter)
        names = _names(_next(records, path, 1) or [], path)
        rows = TextRows(path, partial(_parsed, names=names, delimiter=delimiter))
        begin, line = consumed.end, consumed.number + 1
        while (values := _next(records, path, line)) is not None:
            if values:
                rows.add(begin, consumed.end, line)
            begin, line = consumed.end, consumed.number + 1
    return rows


def _reader(texts: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    return csv.reader(texts, delimiter=delimiter, strict=True)


def _next(records: Iterator[list[str]], path: Path, line: int) -> list[str] | None:
    try:
        return next(records, None)
    except csv.Error as error:
        raise RowError(f"{path}:{line}", f"its quotes do not match: {error}") from error


def _names(names: list[str], path: Path) -> list[str]:
    stripped = [name.strip() for name in names]
    if len(set(stripped)) < len(stripped) or "" in stripped:
        raise DataError(f"{path}: its first line must name the fields, each otherwise: found {', '.join(names)}")
    return stripped


def _parsed(text: str, where: str, names: list[str], delimiter: str) -> dict[str, Any]:
    [values] = _reader([text], delimiter)
    if len(values) != len(names):
        raise RowError(where, f"{len(values)} values for the {len(names)} fields {', '.join(names)}")
    return dict(zip(names, values, strict=True))


read_csv = partial(read_delimited, delimiter=",")
read_tsv = partial(read_delimited, delimiter="\t")
