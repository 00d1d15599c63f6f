"""A question whose answer stands in its context: SQuAD's form, or the answer alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.errors import RowError

QUESTION, CONTEXT = "question", "context"
ANSWERED = ("answers", "answer")


def answered_fields(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A row's fields with `answers` as SQuAD writes them: `text` and `answer_start`, a list each.

    An `answer` by itself stands where the context has it first.

    Raises:
        RowError: the answers cannot be read, there is none, or one is not where it should be in the context.
    """
    context, given = row[CONTEXT], row[next(name for name in ANSWERED if name in row)]
    if not isinstance(context, str):
        raise RowError(where, f"its context is {type(context).__name__}, not text")
    texts, starts = _parts(given, context, where)
    if not texts:
        raise RowError(where, "it has no answer: questions without one (SQuAD 2.0) are not served, leave the row out")
    for text, start in zip(texts, starts, strict=True):
        _check(text, start, context, where)
    return {**row, ANSWERED[0]: {"text": texts, "answer_start": starts}}


def _parts(given: Any, context: str, where: str) -> tuple[list[Any], list[Any]]:
    """The answers' texts and where each begins."""
    match given:
        case {"text": [*texts], "answer_start": [*starts]} if len(texts) == len(starts):
            return texts, starts
        case str() if given:
            return [given], [context.find(given)]
        case "" | None:
            return [], []
    raise RowError(where, "its answers are neither a text nor an object with the lists 'text' and 'answer_start'")


def _check(text: Any, start: Any, context: str, where: str) -> None:
    if not isinstance(text, str) or not isinstance(start, int) or not text.strip():
        raise RowError(where, f"the answer {text!r} at {start!r} is no text with its place in the context")
    if start < 0 or context[start : start + len(text)] != text:
        place = "" if start < 0 else f" at character {start}"
        raise RowError(where, f"the answer {text!r} does not stand in the context{place}")
