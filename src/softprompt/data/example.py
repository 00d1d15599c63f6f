"""One example: the fields of one row of data, and where it came from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from softprompt.errors import RowError


@dataclass(frozen=True)
class Example:
    """A row's fields by name, and `where` it stands (`train.jsonl:12`) for messages about it."""

    fields: Mapping[str, Any]
    where: str = "example"

    def text(self, field: str) -> str:
        """A field as text.

        Raises:
            RowError: there is no such field, or it holds something that is not text.
        """
        value = self._value(field)
        if isinstance(value, float) and math.isnan(value):
            raise RowError(self.where, f"field {field!r} is NaN, as tables have where a value is missing")
        if not isinstance(value, str | int | float | bool):
            raise RowError(self.where, f"field {field!r} is {type(value).__name__}, not text")
        return self._whole(field, json.dumps(value) if isinstance(value, bool) else str(value))

    def texts(self, field: str) -> list[str]:
        """A field that may hold one text or a list of them.

        Raises:
            RowError: there is no such field, or it is something else.
        """
        value = self._value(field)
        if isinstance(value, str):
            return [self._whole(field, value)]
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return [self._whole(field, item) for item in value]
        raise RowError(self.where, f"field {field!r} is neither a text nor a list of texts")

    def _value(self, field: str) -> Any:
        if field not in self.fields:
            raise RowError(self.where, f"no field {field!r}; its fields are {', '.join(self.fields) or 'none'}")
        return self.fields[field]

    def _whole(self, field: str, text: str) -> str:
        r"""The text, unless it holds half a character: JSON can write a lone `\ud83d`, which no tokenizer reads."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RowError(self.where, f"field {field!r} is no Unicode text: {error.reason}") from error
        return text
