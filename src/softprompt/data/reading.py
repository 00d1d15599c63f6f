"""Read a file of examples. Every complaint names the file and the line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from softprompt.data.example import Example
from softprompt.errors import DataError, RowError, SettingError


def read_examples(path: str | Path) -> list[Example]:
    """All examples of a file, in order; its ending says how to read it (`.jsonl`, `.json`).

    Raises:
        DataError: the file is missing, empty or not UTF-8.
        RowError: a line is not a JSON object.
        SettingError: an unknown ending.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise SettingError(f"{path}: its ending must be one of {', '.join(READERS)}")
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}: save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    examples = list(reader(path, text))
    if not examples:
        raise DataError(f"{path} has no examples")
    return examples


def _jsonl(path: Path, text: str) -> Iterator[Example]:
    # Not splitlines(): a text field may hold U+2028, which is no line end in JSONL.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            yield _example(_parse(line, where), where)


def _json(path: Path, text: str) -> Iterator[Example]:
    if not text.strip():
        return
    rows = _parse(text, str(path))
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of objects; one object a line is JSONL: name it .jsonl")
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        yield _example(row, where)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, character {error.colno}" if error.lineno > 1 else f"character {error.colno}"
        raise RowError(where, f"not JSON: {error.msg} at {at}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets of thousands of levels
        raise RowError(where, f"not JSON that can be read: {error}") from error


def _example(row: Any, where: str) -> Example:
    if not isinstance(row, dict):
        raise RowError(where, f"expected an object with named fields, found {type(row).__name__}")
    return Example(row, where)


READERS: dict[str, Callable[[Path, str], Iterator[Example]]] = {".jsonl": _jsonl, ".json": _json}
