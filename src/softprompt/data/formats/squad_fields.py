"""Normalize questions whose answers are spans of a context: SQuAD's form, or a single answer text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.data.formats.offset_units import CHARACTERS, OFFSET_UNITS, OffsetUnit
from softprompt.errors import RecordError

QUESTION_FIELD, CONTEXT_FIELD = "question", "context"
ANSWER_FIELDS = ("answers", "answer")
MAX_LISTED_OFFSETS = 3  # offsets of an answer that a message lists


def normalize_squad_fields(
    record: Mapping[str, Any], location: str, offset_unit: OffsetUnit = CHARACTERS
) -> dict[str, Any]:
    """Return a record's fields with `answers` in SQuAD's form: the lists `text` and `answer_start`.

    A single `answer` is located at its first occurrence in the context.

    Args:
        record: fields of the record.
        location: where the record is in its source, for error messages.
        offset_unit: unit of the record's `answer_start`; the result counts characters.

    Raises:
        RecordError: the answers cannot be parsed, there is no answer, or an answer is not at its offset in the context.
    """
    context, texts, starts = extract_answers(record, location)
    if not texts:
        raise RecordError(
            location, "no answer: unanswerable questions (SQuAD 2.0) are not supported; remove this record"
        )
    for text, start in zip(texts, starts, strict=True):
        _check_answer(text, start, context, offset_unit, location)
    return {
        **record,
        ANSWER_FIELDS[0]: {"text": texts, "answer_start": [offset_unit.to_char_offset(context, s) for s in starts]},
    }


def extract_answers(record: Mapping[str, Any], location: str) -> tuple[str, list[Any], list[Any]]:
    """Return a record's context, the texts of its answers, and their offsets as the record gives them.

    Raises:
        RecordError: the context or the answers cannot be parsed.
    """
    context, given = record[CONTEXT_FIELD], record[next(name for name in ANSWER_FIELDS if name in record)]
    if not isinstance(context, str):
        raise RecordError(location, f"context must be text, found {type(context).__name__}")
    return context, *_split_texts_and_starts(given, context, location)


def _split_texts_and_starts(answers: Any, context: str, location: str) -> tuple[list[Any], list[Any]]:
    """Return the texts of the answers and their offsets."""
    match answers:
        case {"text": [*texts], "answer_start": [*starts]} if len(texts) == len(starts):
            return texts, starts
        case [*items] if all(isinstance(item, dict) and {"text", "answer_start"} <= item.keys() for item in items):
            return [item["text"] for item in items], [item["answer_start"] for item in items]
        case str() if answers:
            return [answers], [context.find(answers)]
        case "" | None:
            return [], []
    raise RecordError(location, "answers must be a text or an object with the lists 'text' and 'answer_start'")


def _check_answer(text: Any, start: Any, context: str, offset_unit: OffsetUnit, location: str) -> None:
    if not isinstance(text, str) or not isinstance(start, int) or not text.strip():
        raise RecordError(location, f"invalid answer {text!r} at {start!r}: expected a text and an integer offset")
    if not offset_unit.has_part_at(context, text, start):
        position = "" if start < 0 else f" at {offset_unit.singular} {start}"
        raise RecordError(
            location, f"answer {text!r} is not in the context{position}{_explain_offset(text, start, context)}"
        )


def _explain_offset(text: str, start: int, context: str) -> str:
    """Say where the answer does occur, and which unit other than characters its offset may count."""
    if text not in context:
        is_near_match = "".join(text.casefold().split()) in "".join(context.casefold().split())
        return ": the context has it with other case or white space; write both the same" if is_near_match else ""
    offsets, begin = list[int](), context.find(text)
    while begin >= 0 and len(offsets) < MAX_LISTED_OFFSETS:
        offsets.append(begin)
        begin = context.find(text, begin + 1)
    matching_units = [
        unit.plural for unit in OFFSET_UNITS if unit is not CHARACTERS and unit.has_part_at(context, text, start)
    ]
    unit_hint = (
        f"; {start} is counted in {matching_units[0]}, but all records of a file must use one unit"
        if matching_units
        else ""
    )
    return f": found at character {', '.join(map(str, offsets))}{' and later' if begin >= 0 else ''}{unit_hint}"
