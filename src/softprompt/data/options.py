"""A question with options: which there are, and which is right. The answer becomes a letter, however it is written."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from softprompt.errors import RowError

OPTIONS = ("options", "choices")
ANSWERS = ("answer_idx", "answerKey", "answer")  # MedQA's `answer` is the text and its `answer_idx` the letter
DIGITS = 3  # of the longest number that an option can have, and more: 1984 is a text


@dataclass(frozen=True)
class Question:
    """The options of one row, and the answer as the row writes it.

    Attributes:
        keys: the options' letters, or what the row calls them.
        texts: the options' texts, as many.
        answer: what names the right one.
        answer_text: the right option's text, where the row writes it beside `answer`; else None.
    """

    keys: list[str]
    texts: list[str]
    answer: Any
    answer_text: str | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str) -> Question:
        """Read a row.

        Raises:
            RowError: the options cannot be read.
        """
        keys, texts = _options(row[_first(OPTIONS, row)], where)
        name, beside = _first(ANSWERS, row), row.get(ANSWERS[-1])
        text = beside.strip() if name != ANSWERS[-1] and isinstance(beside, str) else None
        return cls(keys, texts, row[name], text if text in texts else None)

    @property
    def answer_as_text(self) -> str:
        """The answer as text; a whole number has no decimal point, whatever type a table gave it."""
        if isinstance(self.answer, float) and self.answer.is_integer():
            return str(int(self.answer))
        return str(self.answer).strip()

    @property
    def named_index(self) -> int | None:
        """The index of the option whose letter the answer is; None if it is no letter of this question."""
        for keys in (self.keys, [key.lower() for key in self.keys]):
            if self.answer_as_text in keys:
                return keys.index(self.answer_as_text)
        return None

    @property
    def number(self) -> int | None:
        """The answer as a number, if it is one (or digits) and the options are not called by numbers themselves."""
        text = self.answer_as_text
        is_number = text.isascii() and text.isdigit() and len(text) <= DIGITS and not isinstance(self.answer, bool)
        return int(text) if is_number and not any(key.isdigit() for key in self.keys) else None

    @property
    def text_index(self) -> int | None:
        """The index of the option whose text the answer is; None if there is none."""
        return self.texts.index(self.answer_as_text) if self.answer_as_text in self.texts else None

    def fits(self, first: int) -> bool:
        """Whether the answer can be an option's number, counted from `first`."""
        index = -1 if self.number is None else self.number - first
        agrees = self.answer_text is None or self.texts[index : index + 1] == [self.answer_text]
        return 0 <= index < len(self.texts) and agrees


def question_fields(row: Mapping[str, Any], where: str, first: int | None = 0) -> dict[str, Any]:
    """A question's fields with `options` as lines (`A. Aspirin`) and the right one's letter as `label`.

    Args:
        row: the fields.
        where: names the row in messages.
        first: what a number as answer is counted from, 0 or 1; None: digits are the text of an option.

    Raises:
        RowError: the options cannot be read, or the answer is none of them.
    """
    question = Question.from_row(row, where)
    right = _right(question, first, where)
    lines = [f"{letter}. {text}" for letter, text in zip(ascii_uppercase, question.texts, strict=False)]
    return {**row, "options": "\n".join(lines), "label": ascii_uppercase[right]}


def _first(names: tuple[str, ...], row: Mapping[str, Any]) -> str:
    return next(name for name in names if name in row)


def _options(value: Any, where: str) -> tuple[list[str], list[str]]:
    """The options' keys and texts: of `{"A": …}`, of `{"label": […], "text": […]}`, or of a list."""
    match _unquoted(value):
        case {"label": [*keys], "text": [*texts]} if len(keys) == len(texts):
            pass
        case dict() as given:  # a table has a place for every letter, empty where a question has fewer options
            given = {key: text for key, text in given.items() if text is not None}
            keys, texts = list(given), list(given.values())
        case list() as texts:
            keys = list(ascii_uppercase[: len(texts)])
        case _:
            raise RowError(where, f"its options are {type(value).__name__}, not a list or letters with texts")
    if not 2 <= len(texts) <= len(ascii_uppercase):
        raise RowError(where, f"{len(texts)} options where 2 to {len(ascii_uppercase)} are needed")
    return [str(key).strip() for key in keys], [str(text).strip() for text in texts]


def _unquoted(value: Any) -> Any:
    """Options that a CSV file holds as text, as JSON or Python writes a list or an object; others as they are."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def _right(question: Question, first: int | None, where: str) -> int:
    """The right option's index: the answer is its letter, its number or its text.

    Raises:
        RowError: it is none of the options, or two fields name different ones.
    """
    index = _index(question, first)
    if index is None:
        raise RowError(where, _no_option(question, first))
    if question.answer_text is not None and question.texts[index] != question.answer_text:
        said, other = question.answer_as_text, question.texts.index(question.answer_text)
        raise RowError(
            where,
            f"its answer {said!r} is option {ascii_uppercase[index]}, and its text "
            f"{question.answer_text!r} is option {ascii_uppercase[other]}: correct one of them",
        )
    return index


def _index(question: Question, first: int | None) -> int | None:
    if question.named_index is not None:
        return question.named_index
    if first is None or question.number is None:
        return question.text_index
    return question.number - first if question.number - first in range(len(question.texts)) else None


def _no_option(question: Question, first: int | None) -> str:
    counted = "" if first is None or question.number is None else f", counted from {first}"
    return f"the answer {question.answer_as_text!r} is none of its options {', '.join(question.keys)}{counted}"
