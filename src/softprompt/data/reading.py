"""From the name of a source to examples. Every row is read once at the start, so that complaints come then."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from softprompt.data.arrow_tables import read_folder, read_parquet
from softprompt.data.delimited_files import read_csv, read_tsv
from softprompt.data.examples import Examples, Meaning
from softprompt.data.file_kinds import check_kind
from softprompt.data.formats import FORMATS, Format, detected, format_named
from softprompt.data.hub import PREFIX, read_hub
from softprompt.data.index_columns import index_columns
from softprompt.data.json_files import read_json, read_jsonl
from softprompt.data.rows import Rows
from softprompt.errors import DataError, RowError, SettingError

logger = logging.getLogger(__name__)

READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
}


def read_examples(
    source: str | Path, names: Mapping[str, str] | None = None, format_name: str | None = None
) -> Examples:
    """All examples of a file, a folder or a data set of the Hub, in order.

    Args:
        source: a file whose ending says how to read it, a folder of `save_to_disk`, or `hf:NAME[:1000]`.
        names: our names of fields to the rows' own, where they differ.
        format_name: what the fields mean; found by their names if None.

    Raises:
        DataError: it is missing, empty or unreadable.
        RowError: a row is malformed, or of another format than the first.
        SettingError: an unknown ending or format, a format that could be several, or a name for no field.
        NoNetwork: the Hub cannot be reached.
    """
    rows = read_rows(source)
    if not len(rows):
        raise DataError(f"{source} has no examples")
    meaning = _meaning(rows, str(source), names or {}, format_name)
    return Examples(rows, meaning, range(len(rows)), _checked(rows, meaning))


def read_rows(source: str | Path) -> Rows:
    """The rows of a file, a folder or a data set of the Hub.

    Raises:
        DataError, SettingError, NoNetwork: as `read_examples`.
    """
    if str(source).startswith(PREFIX):
        return read_hub(str(source))
    path = Path(source)
    if path.is_dir():
        return read_folder(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise SettingError(
            f"{path}: its ending must be one of {', '.join(READERS)}; a folder is one of save_to_disk, "
            "a name on the Hub begins with hf:"
        )
    if not path.is_file():
        raise DataError(f"no file {path}")
    check_kind(path)
    return reader(path)


def _meaning(rows: Rows, name: str, names: Mapping[str, str], format_name: str | None) -> Meaning:
    """How the rows are read: in the format that is asked for, or that the first row has, or all together ask for."""
    first, ignored = rows[0], list[str]()
    if isinstance(first, dict):
        if unknown := [theirs for theirs in names.values() if theirs not in first]:
            raise SettingError(
                f"{rows.where(0)} has no field {unknown[0]!r}, which `map` names; its fields are {', '.join(first)}"
            )
        ignored = [field for field in index_columns(first) if field not in names.values()]
    if ignored:
        logger.info("%s: the field %s is a table's index and is ignored", name, ", ".join(map(repr, ignored)))
    as_they_are = Meaning(FORMATS["fields"], names, tuple(ignored))
    fields = as_they_are.fields(first, rows.where(0))
    form = detected(fields, name) if format_name is None else format_named(format_name)
    return replace(as_they_are, format=_chosen(form, rows, as_they_are))


def _chosen(form: Format, rows: Rows, meaning: Meaning) -> Format:
    """The format itself, or one that all rows together ask for."""
    if form.choose is None:
        return form
    numbered = enumerate(rows.read(range(len(rows))))
    fields = ((meaning.fields(row, rows.where(index)), rows.where(index)) for index, row in numbered)
    return FORMATS[form.choose(fields, rows.name)]


def _checked(rows: Rows, meaning: Meaning) -> str:
    """Read every row once, for its complaints, and name the content of all: SHA-256."""
    digest, strange = hashlib.sha256(), None
    for index, row in enumerate(rows.read(range(len(rows)))):
        fields = meaning.fields(row, rows.where(index))
        strange = meaning.format.strange(fields) if strange is None else strange
        if meaning.format.strange(fields) != strange:  # what such a field says would be lost without a word
            raise RowError(rows.where(index), _other_than_the_first(meaning, fields, strange))
        meaning.example(row, rows.where(index))
        digest.update(_canonical(row))
    return digest.hexdigest()


def _other_than_the_first(meaning: Meaning, fields: Mapping[str, Any], strange: tuple[str, ...]) -> str:
    differing = sorted({*strange} ^ {*meaning.format.strange(fields)})
    has = "has no" if differing[0] in strange else "has the"
    return (
        f"{has} field {differing[0]!r}, other than the first row, which was read as {meaning.format.name}: "
        "write all rows alike, or split the file"
    )


def _canonical(row: Any) -> bytes:
    return json.dumps(row, sort_keys=True, default=str).encode()
