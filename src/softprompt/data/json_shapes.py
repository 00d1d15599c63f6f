"""The shapes in which one JSON value holds rows: a list, a list under a name, columns, and pandas' other ways."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from softprompt.data.squad_articles import is_articles, questions_of
from softprompt.errors import DataError

logger = logging.getLogger(__name__)

TRAIN = "train"
SPLITS = (TRAIN, "validation", "valid", "val", "dev", "test")
CONTAINERS = (*SPLITS, "data", "dataset", "examples", "rows", "records", "items", "instances", "samples", "entries")
#: Fields of one row that are lists, so that an object with them alone is a row and no list of rows or columns.
LISTS = ("messages", "conversations", "tokens", "tags", "ner_tags", "options", "choices", "references")


def rows_of_document(document: Any, name: str) -> list[Any] | None:
    """The rows that a JSON value holds, and a note where it is no list of them; None if it holds none.

    Args:
        document: the value.
        name: of its file.

    Raises:
        DataError: it holds several lists of rows, and none is `train`.
    """
    if not isinstance(document, dict):
        return _questions(document, name) if isinstance(document, list) else None
    if (split := _split_table(document)) is not None:
        logger.info("%s: read as pandas writes a table with orient='split'", name)
        return split
    if (key := _container(document, name)) is not None:
        return _questions(document[key], name)
    if (columns := _columns(document)) is not None:
        logger.info("%s: read as columns, a list of values each", name)
    return columns


def _questions(rows: list[Any], name: str) -> list[Any]:
    """The rows; of SQuAD's articles a row for each question."""
    questions = questions_of(rows) if is_articles(rows) else None
    if questions is not None:
        logger.info("%s: read as SQuAD's articles, a row for each question", name)
    return rows if questions is None else questions


def _container(document: Mapping[str, Any], name: str) -> str | None:
    """The name of the list of rows; of several splits, `train`."""
    found = [key for key, value in document.items() if isinstance(value, list) and _is_container(key, document)]
    if not found:
        return None
    if len(found) > 1 and TRAIN not in found:
        raise DataError(f"{name} holds the lists {', '.join(found)}: save the one that is meant in a file of its own")
    key = TRAIN if TRAIN in found else found[0]
    logger.info("%s: the rows are those of its list %r", name, key)
    if others := [other for other in found if other != key]:
        logger.warning("%s: of its lists %r is read, and not %s", name, key, ", ".join(map(repr, others)))
    return key


def _is_container(key: str, document: Mapping[str, Any]) -> bool:
    """Whether a list is one of rows: by its name, or since it is all that there is."""
    of_objects = all(isinstance(row, dict) for row in document[key])
    return of_objects and (key in CONTAINERS or (len(document) == 1 and key not in LISTS))


def _columns(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of columns: lists of one length, or objects with the same keys, as pandas writes a table."""
    values = list(document.values())
    if len(values) < 2:
        return None
    if all(isinstance(value, list) for value in values):
        return _rows_of_lists(document)
    if not all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values) or not values[0]:
        return None
    if all(key.isdigit() for key in values[0]):  # columns, each from the number of a row to its value
        return [{name: column[key] for name, column in document.items()} for key in values[0]]
    return values  # rows, each under its name


def _rows_of_lists(document: Mapping[str, list[Any]]) -> list[dict[str, Any]] | None:
    lengths = {len(column) for column in document.values()}
    a_row = any(name in LISTS and not all(isinstance(v, list | dict) for v in document[name]) for name in document)
    if len(lengths) > 1 or lengths == {0} or a_row:
        return None
    return [dict(zip(document, values, strict=True)) for values in zip(*document.values(), strict=True)]


def _split_table(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of `{"columns": […], "index": […], "data": [[…], …]}`."""
    match document:
        case {"columns": [*names], "data": [*rows]} if all(isinstance(r, list) and len(r) == len(names) for r in rows):
            return [dict(zip(map(str, names), row, strict=True)) for row in rows]
    return None
