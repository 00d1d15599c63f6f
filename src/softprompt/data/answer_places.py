"""What the places of answers in their contexts count: all rows of a file together say it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from softprompt.data.answers import given_answers
from softprompt.data.offsets import CHARACTERS, UTF_8, UTF_16
from softprompt.errors import RowError

logger = logging.getLogger(__name__)

UNITS = {"extraction": CHARACTERS, "extraction-utf-16": UTF_16, "extraction-utf-8": UTF_8}


def offset_format(rows: Iterable[tuple[Mapping[str, Any], str]], name: str) -> str:
    """The name of the format that reads the places of all answers: characters wherever these fit.

    Args:
        rows: each row's fields and where it stands.
        name: of the file, for notes.
    """
    fitting = dict(UNITS)
    for row, where in rows:
        answers = _answers(row, where)
        fitting = {form: unit for form, unit in fitting.items() if all(unit.fits(*answer) for answer in answers)}
        if not fitting:
            return next(iter(UNITS))
    chosen, unit = next(iter(fitting.items()))
    if unit is not CHARACTERS:
        logger.warning("%s: the places of its answers count %s, and are read so", name, unit.plural)
    return chosen


def _answers(row: Mapping[str, Any], where: str) -> list[tuple[str, str, int]]:
    """The context, text and place of each of a row's answers; none where a row is refused once the format is known."""
    try:
        context, texts, starts = given_answers(row, where)
    except (RowError, KeyError, StopIteration):
        return []
    pairs = zip(texts, starts, strict=True)
    return [(context, text, start) for text, start in pairs if isinstance(text, str) and isinstance(start, int)]
