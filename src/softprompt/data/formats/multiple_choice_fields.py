"""Normalize multiple-choice questions: the options become lines, the answer becomes a letter."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from softprompt.errors import RecordError

OPTION_FIELDS = ("options", "choices")
CHOICE_FIELDS = ("answer_idx", "answerKey", "answer")  # MedQA's `answer` is the text and its `answer_idx` the letter
MAX_INDEX_DIGITS = 3  # more digits than any option number has: 1984 is a text


@dataclass(frozen=True)
class MultipleChoiceQuestion:
    """The options of a record, and its answer as written.

    Attributes:
        keys: letters or other names of the options.
        texts: texts of the options, in the order of `keys`.
        answer: the value that names the right option.
        answer_text: text of the right option, where the record has one in addition to `answer`; else None.
    """

    keys: list[str]
    texts: list[str]
    answer: Any
    answer_text: str | None

    @classmethod
    def from_record(cls, record: Mapping[str, Any], location: str) -> MultipleChoiceQuestion:
        """Parse the options and the answer of a record.

        Raises:
            RecordError: the options cannot be parsed.
        """
        keys, texts = _parse_options(record[_find_present_name(OPTION_FIELDS, record)], location)
        name, answer_field = _find_present_name(CHOICE_FIELDS, record), record.get(CHOICE_FIELDS[-1])
        text = answer_field.strip() if name != CHOICE_FIELDS[-1] and isinstance(answer_field, str) else None
        return cls(keys, texts, record[name], text if text in texts else None)

    @property
    def answer_as_text(self) -> str:
        """The answer as text. A whole number has no decimal point, whatever its type in a table."""
        if isinstance(self.answer, float) and self.answer.is_integer():
            return str(int(self.answer))
        return str(self.answer).strip()

    @property
    def key_index(self) -> int | None:
        """The index of the option whose key is the answer; None if no key matches."""
        for keys in (self.keys, [key.lower() for key in self.keys]):
            if self.answer_as_text in keys:
                return keys.index(self.answer_as_text)
        return None

    @property
    def answer_number(self) -> int | None:
        """The answer as a number, if it is a number or digits and no option key is a number; else None."""
        text = self.answer_as_text
        is_number = (
            text.isascii() and text.isdigit() and len(text) <= MAX_INDEX_DIGITS and not isinstance(self.answer, bool)
        )
        return int(text) if is_number and not any(key.isdigit() for key in self.keys) else None

    @property
    def text_index(self) -> int | None:
        """The index of the option whose text is the answer; None if no text matches."""
        return self.texts.index(self.answer_as_text) if self.answer_as_text in self.texts else None

    def is_option_number(self, index_base: int) -> bool:
        """Return whether the answer is a valid option number, counted from `index_base`."""
        index = -1 if self.answer_number is None else self.answer_number - index_base
        agrees = self.answer_text is None or self.texts[index : index + 1] == [self.answer_text]
        return 0 <= index < len(self.texts) and agrees


def normalize_multiple_choice_fields(
    record: Mapping[str, Any], location: str, index_base: int | None = 0
) -> dict[str, Any]:
    """Return a question's fields with `options` as lines (`A. Aspirin`) and the letter of the right one as `label`.

    Args:
        record: fields of the record.
        location: where the record is in its source, for error messages.
        index_base: number of the first option, 0 or 1, for numeric answers; None reads digits as the text of an option.

    Raises:
        RecordError: the options cannot be parsed, or the answer is not one of them.
    """
    question = MultipleChoiceQuestion.from_record(record, location)
    correct_index = _find_correct_index(question, index_base, location)
    lines = [f"{letter}. {text}" for letter, text in zip(ascii_uppercase, question.texts, strict=False)]
    return {**record, "options": "\n".join(lines), "label": ascii_uppercase[correct_index]}


def _find_present_name(names: tuple[str, ...], record: Mapping[str, Any]) -> str:
    return next(name for name in names if name in record)


def _parse_options(value: Any, location: str) -> tuple[list[str], list[str]]:
    """Return keys and texts of the options: of `{"A": …}`, of `{"label": […], "text": […]}`, or of a list."""
    match _parse_literal(value):
        case {"label": [*keys], "text": [*texts]} if len(keys) == len(texts):
            pass
        case dict() as given:  # a table has a column for every letter, None where a question has fewer options
            given = {key: text for key, text in given.items() if text is not None}
            keys, texts = list(given), list(given.values())
        case list() as texts:
            keys = list(ascii_uppercase[: len(texts)])
        case _:
            raise RecordError(location, f"options must be a list or an object, found {type(value).__name__}")
    if not 2 <= len(texts) <= len(ascii_uppercase):
        raise RecordError(location, f"{len(texts)} options: a question needs 2 to {len(ascii_uppercase)}")
    return [str(key).strip() for key in keys], [str(text).strip() for text in texts]


def _parse_literal(value: Any) -> Any:
    """Parse options that a CSV file has as text, in JSON or Python syntax. Return other values unchanged."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def _find_correct_index(question: MultipleChoiceQuestion, index_base: int | None, location: str) -> int:
    """Return the index of the right option. The answer is a key, a number or a text of an option.

    Raises:
        RecordError: the answer is not one of the options, or two fields name different options.
    """
    index = _resolve_index(question, index_base)
    if index is None:
        raise RecordError(location, _unknown_option_message(question, index_base))
    if question.answer_text is not None and question.texts[index] != question.answer_text:
        answer, text_index = question.answer_as_text, question.texts.index(question.answer_text)
        raise RecordError(
            location,
            f"answer {answer!r} is option {ascii_uppercase[index]}, but the answer text "
            f"{question.answer_text!r} is option {ascii_uppercase[text_index]}: correct one of them",
        )
    return index


def _resolve_index(question: MultipleChoiceQuestion, index_base: int | None) -> int | None:
    if question.key_index is not None:
        return question.key_index
    if index_base is None or question.answer_number is None:
        return question.text_index
    return (
        question.answer_number - index_base
        if question.answer_number - index_base in range(len(question.texts))
        else None
    )


def _unknown_option_message(question: MultipleChoiceQuestion, index_base: int | None) -> str:
    suffix = "" if index_base is None or question.answer_number is None else f", counted from {index_base}"
    return f"answer {question.answer_as_text!r} is not one of the options {', '.join(question.keys)}{suffix}"
