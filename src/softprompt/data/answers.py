"""A question whose answer stands in its context: SQuAD's form, or the answer alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.data.offsets import CHARACTERS, UNITS, Unit
from softprompt.errors import RowError

QUESTION, CONTEXT = "question", "context"
ANSWERED = ("answers", "answer")
NAMED = 3  # places of an answer that a message names


def answered_fields(row: Mapping[str, Any], where: str, unit: Unit = CHARACTERS) -> dict[str, Any]:
    """A row's fields with `answers` as SQuAD writes them: `text` and `answer_start`, a list each.

    An `answer` by itself stands where the context has it first.

    Args:
        row: the fields.
        where: names the row in messages.
        unit: what the row's `answer_start` counts; that of the result counts characters.

    Raises:
        RowError: the answers cannot be read, there is none, or one is not where it should be in the context.
    """
    context, texts, starts = given_answers(row, where)
    if not texts:
        raise RowError(where, "it has no answer: questions without one (SQuAD 2.0) are not served, leave the row out")
    for text, start in zip(texts, starts, strict=True):
        _check(text, start, context, unit, where)
    return {**row, ANSWERED[0]: {"text": texts, "answer_start": [unit.to_characters(context, s) for s in starts]}}


def given_answers(row: Mapping[str, Any], where: str) -> tuple[str, list[Any], list[Any]]:
    """A row's context, its answers' texts and where the row says that each begins.

    Raises:
        RowError: they cannot be read.
    """
    context, given = row[CONTEXT], row[next(name for name in ANSWERED if name in row)]
    if not isinstance(context, str):
        raise RowError(where, f"its context is {type(context).__name__}, not text")
    return context, *_parts(given, context, where)


def _parts(given: Any, context: str, where: str) -> tuple[list[Any], list[Any]]:
    """The answers' texts and where each begins."""
    match given:
        case {"text": [*texts], "answer_start": [*starts]} if len(texts) == len(starts):
            return texts, starts
        case [*each] if all(isinstance(answer, dict) and {"text", "answer_start"} <= answer.keys() for answer in each):
            return [answer["text"] for answer in each], [answer["answer_start"] for answer in each]
        case str() if given:
            return [given], [context.find(given)]
        case "" | None:
            return [], []
    raise RowError(where, "its answers are neither a text nor an object with the lists 'text' and 'answer_start'")


def _check(text: Any, start: Any, context: str, unit: Unit, where: str) -> None:
    if not isinstance(text, str) or not isinstance(start, int) or not text.strip():
        raise RowError(where, f"the answer {text!r} at {start!r} is no text with its place in the context")
    if not unit.fits(context, text, start):
        place = "" if start < 0 else f" at {unit.singular} {start}"
        raise RowError(
            where, f"the answer {text!r} does not stand in the context{place}{_elsewhere(text, start, context)}"
        )


def _elsewhere(text: str, start: int, context: str) -> str:
    """Where the answer does stand, and what its place may count instead of characters."""
    if text not in context:
        loose = "".join(text.casefold().split()) in "".join(context.casefold().split())
        return ": the context has it in other case or white space, write both alike" if loose else ""
    places, begin = list[int](), context.find(text)
    while begin >= 0 and len(places) < NAMED:
        places.append(begin)
        begin = context.find(text, begin + 1)
    counted = [unit.plural for unit in UNITS if unit is not CHARACTERS and unit.fits(context, text, start)]
    why = f" ({start} counts {counted[0]}: every row of a file must count alike)" if counted else ""
    return f": it stands at character {', '.join(map(str, places))}{' and further' if begin >= 0 else ''}{why}"
