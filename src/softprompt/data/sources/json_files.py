"""Read JSONL (an object per line) and JSON (a list of objects). Content decides, not the extension."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

from softprompt.data.sources.json_layouts import extract_records
from softprompt.data.sources.records import InMemoryRecords, RecordSource
from softprompt.data.sources.text_file import TextFile, open_file
from softprompt.data.sources.text_records import TextFileRecords
from softprompt.errors import DataError, RecordError

logger = logging.getLogger(__name__)

WHITESPACE = re.compile(r"\s*")
TABLE_HEADER = re.compile(r"[\w\" -]+([,;\t|][\w\" -]+)+")  # column names of a delimited table


def read_jsonl(path: Path) -> RecordSource:
    """Index the records of a JSONL file; blank lines are skipped. A file with a single JSON value is read whole.

    Raises:
        DataError: the file cannot be opened, contains several lists of records, or is a table.
        RecordError: the file is a single JSON value that cannot be parsed.
    """
    records = _index_lines(TextFile.open(path))
    document_records = _read_whole_document(records) if len(records) else None
    return records if document_records is None else InMemoryRecords(str(path), document_records)


def read_json(path: Path) -> RecordSource:
    """Read the objects of a JSON list into memory. A file with an object per line is read as JSONL.

    Raises:
        DataError: the file cannot be opened or decoded, or contains no list of objects.
        RecordError: the file is not JSON.
    """
    file = TextFile.open(path)
    text = _read_text(file)
    if not text.strip():
        return InMemoryRecords(str(path), [])
    documents = _parse_documents(text, str(path))
    if len(documents) == 1:
        records = extract_records(documents[0], str(path))
    else:
        lines = _index_lines(file)
        if _is_json_object(lines.read_text(0)):
            logger.info("%s: read as JSONL, one object per line", path)
            return lines
        records = documents
    if records is None:
        raise DataError(f"{path}: expected a list of objects. If the file has one object per line, rename it to .jsonl")
    return InMemoryRecords(str(path), records)


def parse_json(text: str, location: str) -> Any:
    """Parse JSON text.

    Raises:
        RecordError: the text is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _make_json_error(error, location) from error


def _parse_json_line(text: str, location: str) -> Any:
    return parse_json(text.strip(), location)


def _index_lines(file: TextFile) -> TextFileRecords:
    records = TextFileRecords(file, _parse_json_line)
    for line in file.iter_lines():
        if line.text.strip():
            records.add_span(line.start_byte, line.end_byte, line.number)
    return records


def _read_whole_document(records: TextFileRecords) -> list[Any] | None:
    """Return the records of a file that is not JSONL: one list or object, or objects over several lines; else None.

    Raises:
        DataError: the file contains several lists of records.
        RecordError: the file is a list that is not valid JSON.
    """
    first_text = records.read_text(0).strip()
    if _is_json_object(first_text):
        return extract_records(json.loads(first_text), records.name) if len(records) == 1 else None
    try:
        documents = _parse_documents(_read_text(records.file), records.name)
    except RecordError:
        if first_text in ("{", "[") or first_text.startswith("[{"):
            raise
        return None
    if len(documents) == 1 and (extracted := extract_records(documents[0], records.name)) is not None:
        return extracted
    return documents if all(isinstance(document, dict) for document in documents) else None


def _reject_table(text: str, source_name: str) -> None:
    """Reject text that is not JSON and whose first line looks like column names.

    Raises:
        DataError: the text looks like a table.
    """
    first_line = text.lstrip().partition("\n")[0].strip()
    if TABLE_HEADER.fullmatch(first_line):
        raise DataError(
            f"{source_name} is not JSON: the first line is {first_line!r}. If it is a table, rename it to .csv"
        )


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _read_text(file: TextFile) -> str:
    with open_file(file.path) as content:
        return file.read_text(content, file.text_start)


def _parse_documents(text: str, location: str) -> list[Any]:
    """Parse the JSON values of a text, one after another.

    Raises:
        RecordError: a value is not JSON.
        DataError: the text looks like a table.
    """
    decoder, documents, offset = json.JSONDecoder(), list[Any](), 0
    while (begin := WHITESPACE.match(text, offset)) and begin.end() < len(text):
        try:
            value, offset = decoder.raw_decode(text, begin.end())
        except (ValueError, RecursionError) as error:
            _reject_table(text, location)
            raise _make_json_error(error, location) from error
        documents.append(value)
    return documents


def _make_json_error(error: Exception, location: str) -> RecordError:
    if not isinstance(error, json.JSONDecodeError):
        # a number with thousands of digits, or thousands of nested brackets
        return RecordError(location, f"JSON cannot be parsed: {error}")
    position = f"line {error.lineno}, character {error.colno}" if error.lineno > 1 else f"character {error.colno}"
    return RecordError(location, f"not JSON: {error.msg} at {position}")
