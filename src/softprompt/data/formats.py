"""What rows mean: which format they have, told by the names of their fields, and what that format's fields become."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from softprompt.data.answer_numbers import BY_TEXT, FROM_0, FROM_1, answer_format
from softprompt.data.answer_places import UNITS as PLACES
from softprompt.data.answer_places import offset_format
from softprompt.data.answers import ANSWERED, CONTEXT, QUESTION, answered_fields
from softprompt.data.messages import chat_messages, sharegpt_messages
from softprompt.data.options import ANSWERS, OPTIONS, question_fields
from softprompt.data.tags import TAGS, WORDS, tagged_fields
from softprompt.errors import RowError, SettingError

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """One way to write examples.

    Attributes:
        name: what `format` calls it.
        needs: the fields that a row must have; of several names, one.
        task: the kind of task that such rows are for; None: it must be said.
        read: from a row's fields, and where it stands, to the fields that the task asks for.
        template: the template that suits those fields; None: the task's own.
        unlike: fields with which a row is of another format.
        choose: from all rows of a file and the file's name to the name of the format that reads them, where one row
            alone does not say enough; None: this one.
        on_request: only rows that are said to be of this format are.
    """

    name: str
    needs: tuple[tuple[str, ...], ...]
    task: str | None
    read: Callable[[Fields, str], Fields]
    template: str | None = None
    unlike: tuple[str, ...] = ()
    choose: Callable[[Iterable[tuple[Fields, str]], str], str] | None = None
    on_request: bool = False

    def fits(self, fields: Fields) -> bool:
        """Whether a row with these fields is of this format."""
        return bool(self.needs) and not self.on_request and not self.missing(fields) and not self.strange(fields)

    def missing(self, fields: Fields) -> tuple[str, ...]:
        """The names of the first field that a row should have and has not; empty if it has all."""
        return next((names for names in self.needs if not any(name in fields for name in names)), ())

    def strange(self, fields: Fields) -> tuple[str, ...]:
        """The fields by which a row is of another format, though it has what this one needs."""
        return tuple(name for name in self.unlike if name in fields)

    def fields_of(self, row: Fields, where: str) -> Fields:
        """A row's fields as the task asks for them.

        Raises:
            RowError: the row has another format, or a value that cannot be.
        """
        if names := self.missing(row):
            others = "".join(f", it fits {other.name}" for other in FORMATS.values() if other.fits(row))
            raise RowError(
                where,
                f"no field {' or '.join(map(repr, names))}, as rows of {self.name} have{others}; "
                f"its fields are {', '.join(row) or 'none'}",
            )
        return self.read(row, where)


def _as_they_are(row: Fields, _: str) -> Fields:
    return row


def _instruction(row: Fields, _: str) -> Fields:
    """Alpaca's `prompt`: the instruction, and behind a blank line the input if there is one."""
    parts = [row["instruction"], row.get("input")]
    return {**row, "prompt": "\n\n".join(str(part) for part in parts if part not in (None, ""))}


def _chat(row: Fields, where: str) -> Fields:
    return {**row, "messages": chat_messages(row["messages"], where)}


def _sharegpt(row: Fields, where: str) -> Fields:
    return {**row, "messages": sharegpt_messages(row, where)}


RESPONSE = ("output", "references")

FIELDS = Format("fields", (), None, _as_they_are)
"""Rows of no known format, taken as they are: the task and its fields must be said."""

QUESTIONS = Format(
    "question",
    (("question",), OPTIONS, ANSWERS),
    "classification",
    question_fields,
    "{question}\n\n{options}\n\nAnswer:",
    choose=answer_format,
)
QUESTIONS_WITH_NUMBERS = tuple(
    replace(QUESTIONS, name=name, read=partial(question_fields, first=first), choose=None, on_request=True)
    for name, first in ((FROM_0, 0), (FROM_1, 1), (BY_TEXT, None))
)

EXTRACTIONS = Format(
    "extraction",
    ((QUESTION,), (CONTEXT,), ANSWERED),
    "extraction",
    answered_fields,
    unlike=OPTIONS,
    choose=offset_format,
)
EXTRACTIONS_WITH_CODE_UNITS = tuple(
    replace(EXTRACTIONS, name=name, read=partial(answered_fields, unit=unit), choose=None, on_request=True)
    for name, unit in PLACES.items()
    if name != EXTRACTIONS.name
)

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format("classification", (("label",),), "classification", _as_they_are),
        Format("input-output", (("input",), RESPONSE), "generation", _as_they_are, unlike=("instruction",)),
        Format(
            "alpaca",
            (("instruction",), RESPONSE),
            "generation",
            _instruction,
            "### Instruction:\n{prompt}\n\n### Response:\n",
        ),
        Format("chat", (("messages",),), "chat", _chat),
        Format("sharegpt", (("conversations",),), "chat", _sharegpt),
        QUESTIONS,
        *QUESTIONS_WITH_NUMBERS,
        Format("token-classification", ((WORDS,), TAGS), "token-classification", tagged_fields),
        EXTRACTIONS,
        *EXTRACTIONS_WITH_CODE_UNITS,
        FIELDS,
    )
}


def detected(fields: Fields, name: str) -> Format:
    """The format of rows with these fields; `FIELDS` if it is none that is known.

    Raises:
        SettingError: it could be several.
    """
    fitting = [each for each in FORMATS.values() if each.fits(fields)]
    if len(fitting) > 1:
        named = " or ".join(f'`format="{each.name}"`' for each in fitting)
        raise SettingError(
            f"{name} could be read in {len(fitting)} ways: say {named} (its fields: {', '.join(fields)})"
        )
    return fitting[0] if fitting else FIELDS


def format_named(name: str) -> Format:
    """The format of this name.

    Raises:
        SettingError: there is none.
    """
    if name not in FORMATS:
        raise SettingError(f"unknown format {name!r}: one of {', '.join(FORMATS)}")
    return FORMATS[name]
