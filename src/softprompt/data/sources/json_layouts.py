"""Extract records from the layouts of a JSON document: a list, a named list, columns, and pandas' orients."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from softprompt.data.sources.squad_articles import flatten_articles, is_squad_articles
from softprompt.errors import DataError

logger = logging.getLogger(__name__)

TRAIN_SPLIT = "train"
SPLIT_NAMES = (TRAIN_SPLIT, "validation", "valid", "val", "dev", "test")
RECORD_LIST_NAMES = (
    *SPLIT_NAMES,
    "data",
    "dataset",
    "examples",
    "rows",
    "records",
    "items",
    "instances",
    "samples",
    "entries",
)
#: Fields of one record that hold lists. An object with only such fields is a record, not a list of records or columns.
LIST_FIELDS = ("messages", "conversations", "tokens", "tags", "ner_tags", "options", "choices", "references")


def extract_records(document: Any, source_name: str) -> list[Any] | None:
    """Return the records in a JSON document; None if the document has no known layout. The layout is logged.

    Args:
        document: parsed JSON value.
        source_name: name of the file, for messages.

    Raises:
        DataError: the document has several lists of records, and none is named `train`.
    """
    if not isinstance(document, dict):
        return _flatten_squad(document, source_name) if isinstance(document, list) else None
    if (split := _parse_split_orient(document)) is not None:
        logger.info("%s: read as a pandas table with orient='split'", source_name)
        return split
    if (key := _find_record_list(document, source_name)) is not None:
        return _flatten_squad(document[key], source_name)
    if (columns := _parse_columns(document)) is not None:
        logger.info("%s: read as columns, each a list of values", source_name)
    return columns


def _flatten_squad(records: list[Any], source_name: str) -> list[Any]:
    """Return the records, with SQuAD articles flattened to a record per question."""
    questions = flatten_articles(records) if is_squad_articles(records) else None
    if questions is not None:
        logger.info("%s: read as SQuAD articles, a record per question", source_name)
    return records if questions is None else questions


def _find_record_list(document: Mapping[str, Any], source_name: str) -> str | None:
    """Return the name of the list of records; `train` if there are several."""
    list_names = [key for key, value in document.items() if isinstance(value, list) and _is_record_list(key, document)]
    if not list_names:
        return None
    if len(list_names) > 1 and TRAIN_SPLIT not in list_names:
        raise DataError(
            f"{source_name} contains several lists ({', '.join(list_names)}): save the one to use in its own file"
        )
    key = TRAIN_SPLIT if TRAIN_SPLIT in list_names else list_names[0]
    logger.info("%s: reading the records of the list %r", source_name, key)
    if ignored_names := [name for name in list_names if name != key]:
        logger.warning("%s: reading the list %r and ignoring %s", source_name, key, ", ".join(map(repr, ignored_names)))
    return key


def _is_record_list(key: str, document: Mapping[str, Any]) -> bool:
    """Return whether a list contains records, by its name or because the document contains nothing else."""
    has_objects = all(isinstance(record, dict) for record in document[key])
    return has_objects and (key in RECORD_LIST_NAMES or (len(document) == 1 and key not in LIST_FIELDS))


def _parse_columns(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the records of columns: lists of equal length, or objects with equal keys as pandas writes them."""
    values = list(document.values())
    if len(values) < 2:
        return None
    if all(isinstance(value, list) for value in values):
        return _parse_column_lists(document)
    if not all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values) or not values[0]:
        return None
    if all(key.isdigit() for key in values[0]):  # columns, each a mapping from record index to value
        return [{name: column[key] for name, column in document.items()} for key in values[0]]
    return values  # records, each under its name


def _parse_column_lists(document: Mapping[str, list[Any]]) -> list[dict[str, Any]] | None:
    lengths = {len(column) for column in document.values()}
    is_single_record = any(
        name in LIST_FIELDS and not all(isinstance(value, list | dict) for value in document[name]) for name in document
    )
    if len(lengths) > 1 or lengths == {0} or is_single_record:
        return None
    return [dict(zip(document, values, strict=True)) for values in zip(*document.values(), strict=True)]


def _parse_split_orient(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the records of `{"columns": […], "index": […], "data": [[…], …]}`."""
    match document:
        case {"columns": [*names], "data": [*rows]} if all(isinstance(r, list) and len(r) == len(names) for r in rows):
            return [dict(zip(map(str, names), row, strict=True)) for row in rows]
    return None
