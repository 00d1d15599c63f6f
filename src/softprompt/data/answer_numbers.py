"""What numbers mean as the answers to questions with options: all rows of a file together decide."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from softprompt.data.options import Question
from softprompt.errors import RowError

logger = logging.getLogger(__name__)

QUESTION, FROM_0, FROM_1, BY_TEXT = "question", "question-from-0", "question-from-1", "question-by-text"


@dataclass
class _Counts:
    """What was found in the rows whose answer is a number.

    Attributes:
        numbers: how many there are.
        integers: how many of them are no text.
        zeros: how many are 0.
        fit: of how many the number fits, counted from 0 and from 1.
        texts: how many are also the text of an option.
        other: the places where that is another option than the number's, counted from 0 and from 1.
    """

    numbers: int
    integers: int
    zeros: int
    fit: tuple[int, int]
    texts: int
    other: tuple[list[str], list[str]]


def answer_format(rows: Iterable[tuple[Mapping[str, Any], str]], name: str) -> str:
    """The name of the format that says what the numbers are which rows have as answers.

    A number is an option's place, counted from 0 where all fit so, else from 1. Digits that a file has as text, as a
    CSV file has all of them, are the texts of options where all of them are such texts.

    Args:
        rows: each row's fields and where it stands.
        name: of the file, for notes.

    Returns:
        `question` if no answer is a number.
    """
    counts = _count(rows)
    if not counts.numbers:
        return QUESTION
    fits_no_base = max(counts.fit) < counts.numbers
    if counts.texts == counts.numbers and (fits_no_base or not counts.integers):
        _note_texts(counts, name)
        return BY_TEXT
    first = 1 if counts.fit[0] < counts.numbers and not counts.zeros and counts.fit[1] >= counts.fit[0] else 0
    if counts.fit[first] == counts.numbers:
        _note_numbers(counts, first, name)
    return (FROM_0, FROM_1)[first]


def _count(rows: Iterable[tuple[Mapping[str, Any], str]]) -> _Counts:
    counts = _Counts(0, 0, 0, (0, 0), 0, ([], []))
    for row, where in rows:
        try:
            question = Question.from_row(row, where)
        except (RowError, StopIteration):  # it is refused once the format is known
            continue
        if question.number is not None:
            _add(counts, question, where)
    return counts


def _add(counts: _Counts, question: Question, where: str) -> None:
    assert question.number is not None
    counts.numbers += 1
    counts.integers += not isinstance(question.answer, str)
    counts.zeros += question.number == 0
    counts.fit = (counts.fit[0] + question.fits(0), counts.fit[1] + question.fits(1))
    counts.texts += question.text_index is not None
    for first in (0, 1):
        if question.text_index not in (None, question.number - first):
            counts.other[first].append(where)


def _note_numbers(counts: _Counts, first: int, name: str) -> None:
    if first:
        logger.warning(
            "%s: answers are numbers of options counted from 1 (none is 0, and some are too large for 0)",
            name,
        )
    elif not counts.zeros and counts.fit[1] == counts.numbers:
        logger.warning(
            "%s: answers are read as numbers of options counted from 0, and none is 0; "
            'if they are counted from 1, say `format="%s"`',
            name,
            FROM_1,
        )
    if other := counts.other[first]:
        logger.warning(
            "%s: in %d of %d rows (the first is %s) the number that is the answer is also the text of another option: "
            "it is taken as the option's number, counted from %d",
            name,
            len(other),
            counts.numbers,
            other[0],
            first,
        )


def _note_texts(counts: _Counts, name: str) -> None:
    if counts.fit[0] == counts.numbers and counts.other[0]:
        logger.warning(
            "%s: answers are digits, and each is taken as the text of an option; "
            'if they are numbers of options, say `format="%s"` or `format="%s"`',
            name,
            FROM_0,
            FROM_1,
        )
