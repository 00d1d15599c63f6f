"""Record formats: how field names identify a format, and how its fields are normalized."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from softprompt.data.example import missing_field_message
from softprompt.data.formats.answer_offsets import OFFSET_UNIT_BY_FORMAT, detect_offset_format
from softprompt.data.formats.chat_messages import normalize_messages, normalize_sharegpt_messages
from softprompt.data.formats.multiple_choice_fields import (
    CHOICE_FIELDS,
    OPTION_FIELDS,
    normalize_multiple_choice_fields,
)
from softprompt.data.formats.numeric_answers import (
    ONE_BASED_FORMAT,
    OPTION_TEXT_FORMAT,
    ZERO_BASED_FORMAT,
    detect_answer_format,
)
from softprompt.data.formats.squad_fields import ANSWER_FIELDS, CONTEXT_FIELD, QUESTION_FIELD, normalize_squad_fields
from softprompt.data.formats.token_tag_fields import TAG_FIELDS, TOKENS_FIELD, normalize_token_tag_fields
from softprompt.errors import RecordError, SettingError

RecordFields = Mapping[str, Any]


@dataclass(frozen=True)
class RecordFormat:
    """A format of records.

    Attributes:
        name: value of the `format` setting.
        required_fields: fields that a record must have; of alternative names, one is enough.
        task_kind: kind of task that the records are for; None if the task must be given.
        normalizer: function from a record's fields and location to the fields that the task expects.
        template: default template for these fields; None for the task's own.
        conflicting_fields: fields whose presence means that a record has another format.
        detect_variant: function from all records and the file's name to the name of the format that reads them, where
            one record does not determine it; None for this format.
        is_explicit_only: whether the format is never detected and must be requested by name.
    """

    name: str
    required_fields: tuple[tuple[str, ...], ...]
    task_kind: str | None
    normalizer: Callable[[RecordFields, str], RecordFields]
    template: str | None = None
    conflicting_fields: tuple[str, ...] = ()
    detect_variant: Callable[[Iterable[tuple[RecordFields, str]], str], str] | None = None
    is_explicit_only: bool = False

    def matches_fields(self, fields: RecordFields) -> bool:
        """Return whether a record with these fields has this format."""
        return (
            bool(self.required_fields)
            and not self.is_explicit_only
            and not self.find_missing_field(fields)
            and not self.find_conflicting_fields(fields)
        )

    def find_missing_field(self, fields: RecordFields) -> tuple[str, ...]:
        """Return the alternative names of the first required field that is missing. Empty if no field is missing."""
        return next((names for names in self.required_fields if not any(name in fields for name in names)), ())

    def find_conflicting_fields(self, fields: RecordFields) -> tuple[str, ...]:
        """Return the fields of a record that belong to another format."""
        return tuple(name for name in self.conflicting_fields if name in fields)

    def normalize_record(self, record: RecordFields, location: str) -> RecordFields:
        """Return a record's fields as the task expects them.

        Raises:
            RecordError: the record has another format, or a value is invalid.
        """
        if names := self.find_missing_field(record):
            hint = "".join(f", it fits {other.name}" for other in FORMATS.values() if other.matches_fields(record))
            requirement = f", which the format {self.name} requires{hint}"
            raise RecordError(location, missing_field_message(names, record, requirement))
        return self.normalizer(record, location)


def _keep_fields(record: RecordFields, _: str) -> RecordFields:
    return record


def _normalize_alpaca(record: RecordFields, _: str) -> RecordFields:
    """Add Alpaca's `prompt`: the instruction, and after a blank line the input if there is one."""
    parts = [record["instruction"], record.get("input")]
    return {**record, "prompt": "\n\n".join(str(part) for part in parts if part not in (None, ""))}


def _normalize_chat(record: RecordFields, location: str) -> RecordFields:
    return {**record, "messages": normalize_messages(record["messages"], location)}


def _normalize_sharegpt(record: RecordFields, location: str) -> RecordFields:
    return {**record, "messages": normalize_sharegpt_messages(record, location)}


RESPONSE_FIELDS = ("output", "references")

RAW_FORMAT = RecordFormat("fields", (), None, _keep_fields)
"""Records of an unknown format, read unchanged: the task and its fields must be given."""

MULTIPLE_CHOICE = RecordFormat(
    "question",
    (("question",), OPTION_FIELDS, CHOICE_FIELDS),
    "classification",
    normalize_multiple_choice_fields,
    "{question}\n\n{options}\n\nAnswer:",
    detect_variant=detect_answer_format,
)
MULTIPLE_CHOICE_VARIANTS = tuple(
    replace(
        MULTIPLE_CHOICE,
        name=name,
        normalizer=partial(normalize_multiple_choice_fields, index_base=index_base),
        detect_variant=None,
        is_explicit_only=True,
    )
    for name, index_base in ((ZERO_BASED_FORMAT, 0), (ONE_BASED_FORMAT, 1), (OPTION_TEXT_FORMAT, None))
)

EXTRACTIVE_QA = RecordFormat(
    "extraction",
    ((QUESTION_FIELD,), (CONTEXT_FIELD,), ANSWER_FIELDS),
    "extraction",
    normalize_squad_fields,
    conflicting_fields=OPTION_FIELDS,
    detect_variant=detect_offset_format,
)
EXTRACTIVE_QA_VARIANTS = tuple(
    replace(
        EXTRACTIVE_QA,
        name=name,
        normalizer=partial(normalize_squad_fields, offset_unit=unit),
        detect_variant=None,
        is_explicit_only=True,
    )
    for name, unit in OFFSET_UNIT_BY_FORMAT.items()
    if name != EXTRACTIVE_QA.name
)

FORMATS: dict[str, RecordFormat] = {
    record_format.name: record_format
    for record_format in (
        RecordFormat("classification", (("label",),), "classification", _keep_fields),
        RecordFormat(
            "input-output",
            (("input",), RESPONSE_FIELDS),
            "generation",
            _keep_fields,
            conflicting_fields=("instruction",),
        ),
        RecordFormat(
            "alpaca",
            (("instruction",), RESPONSE_FIELDS),
            "generation",
            _normalize_alpaca,
            "### Instruction:\n{prompt}\n\n### Response:\n",
        ),
        RecordFormat("chat", (("messages",),), "chat", _normalize_chat),
        RecordFormat("sharegpt", (("conversations",),), "chat", _normalize_sharegpt),
        MULTIPLE_CHOICE,
        *MULTIPLE_CHOICE_VARIANTS,
        RecordFormat(
            "token-classification", ((TOKENS_FIELD,), TAG_FIELDS), "token-classification", normalize_token_tag_fields
        ),
        EXTRACTIVE_QA,
        *EXTRACTIVE_QA_VARIANTS,
        RAW_FORMAT,
    )
}


def detect_format(fields: RecordFields, source_name: str) -> RecordFormat:
    """Return the format of records with these fields; `RAW_FORMAT` if no known format matches.

    Raises:
        SettingError: several formats match.
    """
    matches = [record_format for record_format in FORMATS.values() if record_format.matches_fields(fields)]
    if len(matches) > 1:
        choices = " or ".join(f'`format="{record_format.name}"`' for record_format in matches)
        raise SettingError(f"{source_name} matches several formats: choose {choices} (fields: {', '.join(fields)})")
    return matches[0] if matches else RAW_FORMAT


def get_format(name: str) -> RecordFormat:
    """Return the format with this name.

    Raises:
        SettingError: the name is unknown.
    """
    if name not in FORMATS:
        raise SettingError(f"unknown format {name!r}: use one of {', '.join(FORMATS)}")
    return FORMATS[name]
