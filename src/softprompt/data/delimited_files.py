"""CSV and TSV with a line of names on top. Every value is text, and a quoted one may go over several lines."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from softprompt.data.index_columns import INDEX_COLUMN
from softprompt.data.rows import Rows
from softprompt.data.text_file import TextFile
from softprompt.data.text_rows import TextRows
from softprompt.errors import DataError, RowError

logger = logging.getLogger(__name__)

csv.field_size_limit(2**31 - 1)  # by default a text of 131,073 characters is an error

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
SAID = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # how Excel says in a first line what separates values
JSON_BEGINS = re.compile(r'\s*(\[\s*)?\{\s*("|$)|\s*\[\s*$')


class _Consumed(Iterator[str]):
    """The lines of a file, as far as `csv` asked for them: where a row ends is known once it has been read."""

    def __init__(self, file: TextFile):
        self.lines = file.lines()
        self.number, self.end = 0, file.begin

    def __next__(self) -> str:
        line = next(self.lines)
        self.number, self.end = line.number, line.end
        return line.text


def read_delimited(path: Path, delimiter: str) -> Rows:
    """A row a record, blank lines left out; only where each begins is kept.

    Where the names hold no `delimiter` and something else that separates values, that is the delimiter, and it is said.

    Raises:
        DataError: the file cannot be opened, is not in its encoding, or its names are not all there and different.
        RowError: a record's quotes do not match.
    """
    file = TextFile.open(path)
    first = next((line.text for line in file.lines()), "")
    if JSON_BEGINS.match(first):
        raise DataError(f"{path} is JSON and no table: give it the ending .json, or .jsonl if it has an object a line")
    delimiter, skipped = _delimiter(first, delimiter, path)
    consumed = _Consumed(file)
    for _ in range(skipped):
        next(consumed)
    records = _reader(consumed, delimiter)
    names = _names(_next(records, path, 1) or [], path)
    rows = TextRows(file, partial(_parsed, names=names, delimiter=delimiter))
    begin, line = consumed.end, consumed.number + 1
    while (values := _next(records, path, line)) is not None:
        if values:
            rows.add(begin, consumed.end, line)
        begin, line = consumed.end, consumed.number + 1
    return rows


def _delimiter(first: str, expected: str, path: Path) -> tuple[str, int]:
    """What separates the values, by the first line, and how many lines stand above the names."""
    if said := SAID.fullmatch(first):
        return said[1], 1
    others = [each for each in DELIMITERS if each in first]
    if expected in first or len(others) != 1:
        return expected, 0
    logger.info("%s: its values are separated by %s", path, DELIMITERS[others[0]])
    return others[0], 0


def _reader(texts: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    return csv.reader(texts, delimiter=delimiter, strict=True)


def _next(records: Iterator[list[str]], path: Path, line: int) -> list[str] | None:
    try:
        return next(records, None)
    except csv.Error as error:
        if "new-line character" in str(error):
            problem = "a carriage return stands in a value without quotes: end every line alike, with a line feed"
            raise RowError(f"{path}:{line}", problem) from error
        raise RowError(f"{path}:{line}", f"its quotes do not match: {error}") from error


def _names(names: list[str], path: Path) -> list[str]:
    stripped = [name.strip() for name in names]
    if len(stripped) > 1 and not stripped[0]:  # as pandas reads what it wrote
        stripped[0] = INDEX_COLUMN if INDEX_COLUMN not in stripped else f"{INDEX_COLUMN}.1"
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
