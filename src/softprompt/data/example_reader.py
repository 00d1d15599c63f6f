"""Read examples from a file, a folder or the Hub. All records are validated once at the start."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from softprompt.data.example_dataset import ExampleDataset, RecordMapping
from softprompt.data.formats.record_formats import FORMATS, RAW_FORMAT, RecordFormat, detect_format, get_format
from softprompt.data.sources.arrow_records import read_parquet, read_saved_dataset
from softprompt.data.sources.csv_files import read_csv, read_tsv
from softprompt.data.sources.file_signatures import check_file_type
from softprompt.data.sources.hub_datasets import HUB_PREFIX, read_hub_dataset
from softprompt.data.sources.index_columns import find_index_columns
from softprompt.data.sources.json_files import read_json, read_jsonl
from softprompt.data.sources.records import RecordSource
from softprompt.errors import DataError, RecordError, SettingError

logger = logging.getLogger(__name__)

FILE_READERS: dict[str, Callable[[Path], RecordSource]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
}


def read_examples(
    source: str | Path, column_map: Mapping[str, str] | None = None, format_name: str | None = None
) -> ExampleDataset:
    """Read all examples of a file, a folder or a Hub dataset, in order.

    Args:
        source: path of a file with one of the extensions in `FILE_READERS`, a folder written by `save_to_disk`, or
            `hf:NAME[:1000]`.
        column_map: column names of the records by field names of the format, where the two differ.
        format_name: name of the record format; None detects the format from the field names.

    Raises:
        DataError: the source is missing, empty or unreadable.
        RecordError: a record is malformed, or has another format than the first record.
        SettingError: the extension or format is unknown, several formats match, or `column_map` has an unknown column.
        HubUnreachable: the Hub cannot be reached.
    """
    records = read_records(source)
    if not len(records):
        raise DataError(f"{source} has no examples")
    mapping = _resolve_mapping(records, str(source), column_map or {}, format_name)
    return ExampleDataset(records, mapping, range(len(records)), _validate_and_hash(records, mapping))


def read_records(source: str | Path) -> RecordSource:
    """Open the records of a file, a folder or a Hub dataset.

    Raises:
        DataError, SettingError, HubUnreachable: as `read_examples`.
    """
    if str(source).startswith(HUB_PREFIX):
        return read_hub_dataset(str(source))
    path = Path(source)
    if path.is_dir():
        return read_saved_dataset(path)
    reader = FILE_READERS.get(path.suffix.lower())
    if reader is None:
        raise SettingError(
            f"{path}: unsupported file extension. Use one of {', '.join(FILE_READERS)}, a folder written by "
            "save_to_disk, or a Hub dataset (hf:NAME)"
        )
    if not path.is_file():
        raise DataError(f"file not found: {path}")
    check_file_type(path)
    return reader(path)


def _resolve_mapping(
    records: RecordSource, source_name: str, column_map: Mapping[str, str], format_name: str | None
) -> RecordMapping:
    """Build the record mapping: the given format, or the one detected from the first record or from all records."""
    first_record, ignored_columns = records[0], list[str]()
    if isinstance(first_record, dict):
        if unknown_columns := [column for column in column_map.values() if column not in first_record]:
            raise SettingError(
                f"{records.format_location(0)}: no field {unknown_columns[0]!r}, which is named in `column_map`; "
                f"available fields: {', '.join(first_record)}"
            )
        ignored_columns = [field for field in find_index_columns(first_record) if field not in column_map.values()]
    if ignored_columns:
        logger.info(
            "%s: ignoring the field %s, which is a table index", source_name, ", ".join(map(repr, ignored_columns))
        )
    raw_mapping = RecordMapping(RAW_FORMAT, column_map, tuple(ignored_columns))
    fields = raw_mapping.map_fields(first_record, records.format_location(0))
    record_format = detect_format(fields, source_name) if format_name is None else get_format(format_name)
    return replace(raw_mapping, format=_resolve_format(record_format, records, raw_mapping))


def _resolve_format(record_format: RecordFormat, records: RecordSource, mapping: RecordMapping) -> RecordFormat:
    """Return the format itself, or the variant that all records together select."""
    if record_format.detect_variant is None:
        return record_format
    indexed_records = enumerate(records.read_records(range(len(records))))
    fields = (
        (mapping.map_fields(record, records.format_location(index)), records.format_location(index))
        for index, record in indexed_records
    )
    return FORMATS[record_format.detect_variant(fields, records.name)]


def _validate_and_hash(records: RecordSource, mapping: RecordMapping) -> str:
    """Read and validate every record once. Return the SHA-256 of their content."""
    digest, first_conflicting = hashlib.sha256(), None
    for index, record in enumerate(records.read_records(range(len(records)))):
        location = records.format_location(index)
        conflicting = mapping.format.find_conflicting_fields(mapping.map_fields(record, location))
        first_conflicting = conflicting if first_conflicting is None else first_conflicting
        if conflicting != first_conflicting:  # the content of such a field would be lost silently
            raise RecordError(location, _inconsistent_record_message(mapping.format, first_conflicting, conflicting))
        mapping.to_example(record, location)
        digest.update(_to_canonical_json(record))
    return digest.hexdigest()


def _inconsistent_record_message(
    record_format: RecordFormat, first_conflicting: tuple[str, ...], conflicting: tuple[str, ...]
) -> str:
    differing = sorted({*first_conflicting} ^ {*conflicting})
    problem = "missing" if differing[0] in first_conflicting else "unexpected"
    return (
        f"{problem} field {differing[0]!r}: the first record was read as {record_format.name}. "
        "Give all records the same fields, or split the file"
    )


def _to_canonical_json(record: Any) -> bytes:
    return json.dumps(record, sort_keys=True, default=str).encode()
