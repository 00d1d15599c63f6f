"""Read CSV and TSV files with a header line. Every value is text, and a quoted value may span several lines."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from softprompt.data.sources.index_columns import PANDAS_INDEX_COLUMN
from softprompt.data.sources.records import RecordSource
from softprompt.data.sources.text_file import TextFile
from softprompt.data.sources.text_records import TextFileRecords
from softprompt.errors import DataError, RecordError

logger = logging.getLogger(__name__)

csv.field_size_limit(2**31 - 1)  # the default limit rejects a value of 131,073 characters

DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # Excel's first line that declares the delimiter
JSON_START = re.compile(r'\s*(\[\s*)?\{\s*("|$)|\s*\[\s*$')


class _LineTracker(Iterator[str]):
    """An iterator over the lines of a file that records how far `csv` has read.

    The end of a record is known only once the record has been read.
    """

    def __init__(self, file: TextFile):
        self.lines = file.iter_lines()
        self.line_number, self.end_byte = 0, file.text_start

    def __next__(self) -> str:
        line = next(self.lines)
        self.line_number, self.end_byte = line.number, line.end_byte
        return line.text


def read_delimited_file(path: Path, delimiter: str) -> RecordSource:
    """Index the records of a delimited file; blank lines are skipped. Only the position of each record is kept.

    If the header contains exactly one other known delimiter and not `delimiter`, that one is used and logged.

    Raises:
        DataError: the file cannot be opened or decoded, or its column names are empty or repeated.
        RecordError: the quotes of a record do not match.
    """
    file = TextFile.open(path)
    first_line = next((line.text for line in file.iter_lines()), "")
    if JSON_START.match(first_line):
        raise DataError(f"{path} is JSON, not a table: rename it to .json, or to .jsonl if it has one object per line")
    delimiter, num_skipped_lines = _detect_delimiter(first_line, delimiter, path)
    consumed = _LineTracker(file)
    for _ in range(num_skipped_lines):
        next(consumed)
    csv_reader = _make_csv_reader(consumed, delimiter)
    names = _normalize_column_names(_read_next_record(csv_reader, path, 1) or [], path)
    records = TextFileRecords(file, partial(_parse_record, names=names, delimiter=delimiter))
    begin, line = consumed.end_byte, consumed.line_number + 1
    while (values := _read_next_record(csv_reader, path, line)) is not None:
        if values:
            records.add_span(begin, consumed.end_byte, line)
        begin, line = consumed.end_byte, consumed.line_number + 1
    return records


def _detect_delimiter(first_line: str, default: str, path: Path) -> tuple[str, int]:
    """Return the delimiter of the values, and the number of lines above the header."""
    if declaration := SEPARATOR_LINE.fullmatch(first_line):
        return declaration[1], 1
    other_delimiters = [delimiter for delimiter in DELIMITER_NAMES if delimiter in first_line]
    if default in first_line or len(other_delimiters) != 1:
        return default, 0
    logger.info("%s: values are separated by %s", path, DELIMITER_NAMES[other_delimiters[0]])
    return other_delimiters[0], 0


def _make_csv_reader(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _read_next_record(records: Iterator[list[str]], path: Path, line_number: int) -> list[str] | None:
    try:
        return next(records, None)
    except csv.Error as error:
        if "new-line character" in str(error):
            problem = "unquoted carriage return in a value: end every line with a line feed"
            raise RecordError(f"{path}:{line_number}", problem) from error
        raise RecordError(f"{path}:{line_number}", f"unmatched quotes: {error}") from error


def _normalize_column_names(names: list[str], path: Path) -> list[str]:
    stripped = [name.strip() for name in names]
    if len(stripped) > 1 and not stripped[0]:  # the name that pandas gives to the index column of its own files
        stripped[0] = PANDAS_INDEX_COLUMN if PANDAS_INDEX_COLUMN not in stripped else f"{PANDAS_INDEX_COLUMN}.1"
    if len(set(stripped)) < len(stripped) or "" in stripped:
        raise DataError(f"{path}: the header must have unique, non-empty column names, found: {', '.join(names)}")
    return stripped


def _parse_record(text: str, location: str, names: list[str], delimiter: str) -> dict[str, Any]:
    [values] = _make_csv_reader([text], delimiter)
    if len(values) != len(names):
        raise RecordError(location, f"{len(values)} values for {len(names)} columns: {', '.join(names)}")
    return dict(zip(names, values, strict=True))


read_csv = partial(read_delimited_file, delimiter=",")
read_tsv = partial(read_delimited_file, delimiter="\t")
