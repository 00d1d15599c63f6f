"""Decide what numeric answers to multiple-choice questions mean, from all records of a file together."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from softprompt.data.formats.multiple_choice_fields import MultipleChoiceQuestion
from softprompt.errors import RecordError

logger = logging.getLogger(__name__)

MULTIPLE_CHOICE_FORMAT, ZERO_BASED_FORMAT, ONE_BASED_FORMAT, OPTION_TEXT_FORMAT = (
    "question",
    "question-from-0",
    "question-from-1",
    "question-by-text",
)


@dataclass
class _AnswerCounts:
    """Statistics of the records whose answer is a number.

    Attributes:
        num_numeric: number of these records.
        num_integers: number of answers that are integers in the file, not text.
        num_zeros: number of answers equal to 0.
        num_in_range: numbers of answers that are a valid option index, counted from 0 and from 1.
        num_option_texts: number of answers that are also the text of an option.
        conflict_locations: locations of records in which that text belongs to another option than the index names,
            counted from 0 and from 1.
    """

    num_numeric: int
    num_integers: int
    num_zeros: int
    num_in_range: tuple[int, int]
    num_option_texts: int
    conflict_locations: tuple[list[str], list[str]]


def detect_answer_format(records: Iterable[tuple[Mapping[str, Any], str]], source_name: str) -> str:
    """Return the name of the format that gives numeric answers their meaning.

    A number is an option index: counted from 0 if all numbers fit, else from 1. A CSV file has digits as text. They are
    the texts of options if every one of them is such a text.

    Args:
        records: the fields and the location of each record.
        source_name: name of the file, for log messages.

    Returns:
        The name of the format; `question` if no answer is a number.
    """
    counts = _count_answers(records)
    if not counts.num_numeric:
        return MULTIPLE_CHOICE_FORMAT
    fits_no_base = max(counts.num_in_range) < counts.num_numeric
    if counts.num_option_texts == counts.num_numeric and (fits_no_base or not counts.num_integers):
        _log_option_texts(counts, source_name)
        return OPTION_TEXT_FORMAT
    index_base = (
        1
        if counts.num_in_range[0] < counts.num_numeric
        and not counts.num_zeros
        and counts.num_in_range[1] >= counts.num_in_range[0]
        else 0
    )
    if counts.num_in_range[index_base] == counts.num_numeric:
        _log_index_base(counts, index_base, source_name)
    return (ZERO_BASED_FORMAT, ONE_BASED_FORMAT)[index_base]


def _count_answers(records: Iterable[tuple[Mapping[str, Any], str]]) -> _AnswerCounts:
    counts = _AnswerCounts(0, 0, 0, (0, 0), 0, ([], []))
    for record, location in records:
        try:
            question = MultipleChoiceQuestion.from_record(record, location)
        except (RecordError, StopIteration):  # the record is rejected once the format is known
            continue
        if question.answer_number is not None:
            _add_answer(counts, question, location)
    return counts


def _add_answer(counts: _AnswerCounts, question: MultipleChoiceQuestion, location: str) -> None:
    assert question.answer_number is not None
    counts.num_numeric += 1
    counts.num_integers += not isinstance(question.answer, str)
    counts.num_zeros += question.answer_number == 0
    counts.num_in_range = (
        counts.num_in_range[0] + question.is_option_number(0),
        counts.num_in_range[1] + question.is_option_number(1),
    )
    counts.num_option_texts += question.text_index is not None
    for index_base in (0, 1):
        if question.text_index not in (None, question.answer_number - index_base):
            counts.conflict_locations[index_base].append(location)


def _log_index_base(counts: _AnswerCounts, index_base: int, source_name: str) -> None:
    if index_base:
        logger.warning(
            "%s: answers are read as option numbers counted from 1 (no answer is 0, and some are too large for 0)",
            source_name,
        )
    elif not counts.num_zeros and counts.num_in_range[1] == counts.num_numeric:
        logger.warning(
            "%s: answers are read as option numbers counted from 0, but no answer is 0; "
            'if they are counted from 1, pass `format="%s"`',
            source_name,
            ONE_BASED_FORMAT,
        )
    if conflicts := counts.conflict_locations[index_base]:
        logger.warning(
            "%s: in %d of %d records (first: %s) the numeric answer is also the text of another option: "
            "it is read as an option number counted from %d",
            source_name,
            len(conflicts),
            counts.num_numeric,
            conflicts[0],
            index_base,
        )


def _log_option_texts(counts: _AnswerCounts, source_name: str) -> None:
    if counts.num_in_range[0] == counts.num_numeric and counts.conflict_locations[0]:
        logger.warning(
            "%s: numeric answers are read as option texts; "
            'if they are option numbers, pass `format="%s"` or `format="%s"`',
            source_name,
            ZERO_BASED_FORMAT,
            ONE_BASED_FORMAT,
        )
