"""One example: the fields of one record of data, and its location in the source."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from softprompt.errors import RecordError
from softprompt.unicode_text import find_unicode_error


def missing_field_message(names: Iterable[str], fields: Iterable[str], requirement: str = "") -> str:
    """Return the error message for a record without a field.

    Args:
        names: name of the field, or its alternative names.
        fields: names of the record's fields.
        requirement: clause after the name that says what requires the field.
    """
    return f"no field {' or '.join(map(repr, names))}{requirement}; its fields are {', '.join(fields) or 'none'}"


@dataclass(frozen=True)
class Example:
    """An example: the fields of a record under the task's names.

    Attributes:
        fields: field values by name.
        location: where the record is in its source (`train.jsonl:12`), for messages about the example.
    """

    fields: Mapping[str, Any]
    location: str = "example"

    def get_text(self, field: str) -> str:
        """Return a field as text; numbers and booleans are converted.

        Raises:
            RecordError: the field is missing, NaN, or not text.
        """
        value = self._get_value(field)
        if isinstance(value, float) and math.isnan(value):
            raise RecordError(self.location, f"field {field!r} is NaN: the value is missing in the table")
        if not isinstance(value, str | int | float | bool):
            raise RecordError(self.location, f"field {field!r} is {type(value).__name__}, not text")
        return self._require_unicode(field, json.dumps(value) if isinstance(value, bool) else str(value))

    def get_texts(self, field: str) -> list[str]:
        """Return a field that holds one text or a list of texts.

        Raises:
            RecordError: the field is missing, or holds something else.
        """
        value = self._get_value(field)
        if isinstance(value, str):
            return [self._require_unicode(field, value)]
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return [self._require_unicode(field, item) for item in value]
        raise RecordError(self.location, f"field {field!r} is neither a text nor a list of texts")

    def _get_value(self, field: str) -> Any:
        if field not in self.fields:
            raise RecordError(self.location, missing_field_message([field], self.fields))
        return self.fields[field]

    def _require_unicode(self, field: str, text: str) -> str:
        r"""Return the text unchanged if it is valid Unicode.

        JSON can contain a lone surrogate such as `\ud83d`, half of a character, which tokenizers reject.
        """
        if fault := find_unicode_error(text):
            raise RecordError(self.location, f"field {field!r} is not valid Unicode text: it {fault}")
        return text
