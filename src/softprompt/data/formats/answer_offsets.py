"""Detect the unit of answer offsets (characters, UTF-16 code units or bytes) from all records of a file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from softprompt.data.formats.offset_units import CHARACTERS, UTF_8_BYTES, UTF_16_CODE_UNITS
from softprompt.data.formats.squad_fields import extract_answers
from softprompt.errors import RecordError

logger = logging.getLogger(__name__)

OFFSET_UNIT_BY_FORMAT = {
    "extraction": CHARACTERS,
    "extraction-utf-16": UTF_16_CODE_UNITS,
    "extraction-utf-8": UTF_8_BYTES,
}


def detect_offset_format(records: Iterable[tuple[Mapping[str, Any], str]], source_name: str) -> str:
    """Return the name of the format whose unit fits all answer offsets. Characters are preferred.

    Args:
        records: the fields and the location of each record.
        source_name: name of the file, for log messages.
    """
    fitting = dict(OFFSET_UNIT_BY_FORMAT)
    for record, location in records:
        answers = _try_extract_answers(record, location)
        fitting = {
            format_name: unit
            for format_name, unit in fitting.items()
            if all(unit.has_part_at(*answer) for answer in answers)
        }
        if not fitting:
            return next(iter(OFFSET_UNIT_BY_FORMAT))
    format_name, unit = next(iter(fitting.items()))
    if unit is not CHARACTERS:
        logger.warning("%s: answer offsets are counted in %s", source_name, unit.plural)
    return format_name


def _try_extract_answers(record: Mapping[str, Any], location: str) -> list[tuple[str, str, int]]:
    """Return the context, text and offset of each answer of a record.

    The result is empty for an invalid record, which is rejected once the format is known.
    """
    try:
        context, texts, starts = extract_answers(record, location)
    except (RecordError, KeyError, StopIteration):
        return []
    pairs = zip(texts, starts, strict=True)
    return [(context, text, start) for text, start in pairs if isinstance(text, str) and isinstance(start, int)]
