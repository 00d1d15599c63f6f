"""JSONL, an object a line, and JSON, a list of objects. One under the name of the other is read as what it is."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

from softprompt.data.json_shapes import rows_of_document
from softprompt.data.rows import ListedRows, Rows
from softprompt.data.text_file import TextFile, opened
from softprompt.data.text_rows import TextRows
from softprompt.errors import DataError, RowError

logger = logging.getLogger(__name__)

SPACE = re.compile(r"\s*")
NAMES = re.compile(r"[\w\" -]+([,;\t|][\w\" -]+)+")  # of a table's columns


def read_jsonl(path: Path) -> Rows:
    """A row a line, blank lines left out; only where each begins is kept. A file that is one JSON value is read whole.

    Raises:
        DataError: the file cannot be opened, holds several lists of rows or is a table.
        RowError: it is one JSON value that cannot be read.
    """
    rows = _lines(TextFile.open(path))
    whole = _whole(rows) if len(rows) else None
    return rows if whole is None else ListedRows(str(path), whole)


def read_json(path: Path) -> Rows:
    """The objects of a list, all of them in memory; of a file that has an object a line, those.

    Raises:
        DataError: the file cannot be opened, is not in its encoding or holds no list.
        RowError: it is not JSON.
    """
    file = TextFile.open(path)
    text = _text(file)
    if not text.strip():
        return ListedRows(str(path), [])
    documents = _documents(text, str(path))
    if len(documents) == 1:
        rows = rows_of_document(documents[0], str(path))
    else:
        lines = _lines(file)
        if _is_object(lines.text(0)):
            logger.info("%s: read as JSONL, an object a line", path)
            return lines
        rows = documents
    if rows is None:
        raise DataError(f"{path}: expected a list of objects; one object a line is JSONL: name it .jsonl")
    return ListedRows(str(path), rows)


def parsed(text: str, where: str) -> Any:
    """What a text says in JSON.

    Raises:
        RowError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_json(error, where) from error


def _parsed_line(text: str, where: str) -> Any:
    return parsed(text.strip(), where)


def _lines(file: TextFile) -> TextRows:
    rows = TextRows(file, _parsed_line)
    for line in file.lines():
        if line.text.strip():
            rows.add(line.begin, line.end, line.number)
    return rows


def _whole(rows: TextRows) -> list[Any] | None:
    """The rows of a file that is no object a line: one list or object, or objects over several lines; else None.

    Raises:
        DataError: it holds several lists of rows.
        RowError: it is a list that is not JSON.
    """
    first = rows.text(0).strip()
    if _is_object(first):
        return rows_of_document(json.loads(first), rows.name) if len(rows) == 1 else None
    try:
        documents = _documents(_text(rows.file), rows.name)
    except RowError:
        if first in ("{", "[") or first.startswith("[{"):
            raise
        return None
    if len(documents) == 1 and (found := rows_of_document(documents[0], rows.name)) is not None:
        return found
    return documents if all(isinstance(document, dict) for document in documents) else None


def _check_no_table(text: str, name: str) -> None:
    """Whether a text that is not JSON may be a table: its first line may be the names of columns.

    Raises:
        DataError: it may.
    """
    first = text.lstrip().partition("\n")[0].strip()
    if NAMES.fullmatch(first):
        raise DataError(f"{name} is not JSON: its first line is {first!r}; if it is a table, give it the ending .csv")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _text(file: TextFile) -> str:
    with opened(file.path) as content:
        return file.read(content, file.begin)


def _documents(text: str, where: str) -> list[Any]:
    """The JSON values that a text has one after another.

    Raises:
        RowError: one is not JSON.
        DataError: the text may be a table.
    """
    decoder, found, at = json.JSONDecoder(), list[Any](), 0
    while (begin := SPACE.match(text, at)) and begin.end() < len(text):
        try:
            value, at = decoder.raw_decode(text, begin.end())
        except (ValueError, RecursionError) as error:
            _check_no_table(text, where)
            raise _not_json(error, where) from error
        found.append(value)
    return found


def _not_json(error: Exception, where: str) -> RowError:
    if not isinstance(error, json.JSONDecodeError):
        # a number of thousands of digits, brackets of thousands of levels
        return RowError(where, f"not JSON that can be read: {error}")
    at = f"line {error.lineno}, character {error.colno}" if error.lineno > 1 else f"character {error.colno}"
    return RowError(where, f"not JSON: {error.msg} at {at}")
