"""A question with options: which there are, and which is right. The answer becomes a letter, however it is written."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from softprompt.errors import RowError

OPTIONS = ("options", "choices")
ANSWERS = ("answer_idx", "answerKey", "answer")  # MedQA's `answer` is the text and its `answer_idx` the letter


def question_fields(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A question's fields with `options` as lines (`A. Aspirin`) and the right one's letter as `label`.

    Raises:
        RowError: the options cannot be read, or the answer is none of them.
    """
    keys, texts = _options(row[_first(OPTIONS, row)], where)
    right = _right(row[_first(ANSWERS, row)], keys, texts, where)
    lines = [f"{letter}. {text}" for letter, text in zip(ascii_uppercase, texts, strict=False)]
    return {**row, "options": "\n".join(lines), "label": ascii_uppercase[right]}


def _first(names: tuple[str, ...], row: Mapping[str, Any]) -> str:
    return next(name for name in names if name in row)


def _options(value: Any, where: str) -> tuple[list[str], list[str]]:
    """The options' keys and texts: of `{"A": …}`, of `{"label": […], "text": […]}`, or of a list."""
    match value:
        case {"label": [*keys], "text": [*texts]} if len(keys) == len(texts):
            pass
        case dict():  # a table has a place for every letter, empty where a question has fewer options
            given = {key: text for key, text in value.items() if text is not None}
            keys, texts = list(given), list(given.values())
        case list():
            keys, texts = list(ascii_uppercase[: len(value)]), value
        case _:
            raise RowError(where, f"its options are {type(value).__name__}, not a list or letters with texts")
    if not 2 <= len(texts) <= len(ascii_uppercase):
        raise RowError(where, f"{len(texts)} options where 2 to {len(ascii_uppercase)} are needed")
    return [str(key).strip() for key in keys], [str(text).strip() for text in texts]


def _right(answer: Any, keys: list[str], texts: list[str], where: str) -> int:
    """The right option's index: the answer is its key or its text, or the index itself."""
    said = str(answer).strip()
    for known in (keys, [key.lower() for key in keys], texts):
        if said in known:
            return known.index(said)
    if said.isascii() and said.isdigit() and int(said) < len(texts) and not isinstance(answer, bool):
        return int(said)
    raise RowError(where, f"the answer {said!r} is none of its options {', '.join(keys)}")
