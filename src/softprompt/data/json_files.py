"""JSONL, an object a line, and JSON, a list of objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from softprompt.data.rows import ListedRows, Rows
from softprompt.data.text_rows import BYTE_ORDER_MARK, TextRows, decoded, lines, opened
from softprompt.errors import DataError, RowError


def read_jsonl(path: Path) -> Rows:
    """A row a line, blank lines left out; only where each begins is kept.

    Raises:
        DataError: the file cannot be opened.
    """
    rows = TextRows(path, parsed)
    with opened(path) as file:
        for number, begin, line in lines(file):
            if line.strip():
                rows.add(begin, begin + len(line.rstrip()), number)
    return rows


def read_json(path: Path) -> Rows:
    """The objects of a list, all of them in memory.

    Raises:
        DataError: the file cannot be opened, is not UTF-8 or holds no list.
        RowError: it is not JSON.
    """
    with opened(path) as file:
        text = decoded(file.read().removeprefix(BYTE_ORDER_MARK), path)
    rows = parsed(text, str(path)) if text.strip() else []
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of objects; one object a line is JSONL: name it .jsonl")
    return ListedRows(str(path), rows)


def parsed(text: str, where: str) -> Any:
    """What a text says in JSON.

    Raises:
        RowError: it is not JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, character {error.colno}" if error.lineno > 1 else f"character {error.colno}"
        raise RowError(where, f"not JSON: {error.msg} at {at}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets of thousands of levels
        raise RowError(where, f"not JSON that can be read: {error}") from error
