"""Limits on the repetitions in JSON schemas and regular expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping

from softprompt.errors import SettingError

MAX_REPETITIONS = 100_000  # llguidance before 1.9 allocates about 100 bytes for each

_COUNT_KEYWORDS = (
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
)
_VALUE_KEYWORDS = ("const", "enum", "default", "examples")  # their values are data, not schemas
_REPETITION = re.compile(r"(?<!\\)\{(\d+)(?:,(\d*))?\}")


def check_schema_repetitions(schema: object) -> None:
    """Check that a JSON schema repeats nothing more than `MAX_REPETITIONS` times.

    Raises:
        SettingError: a keyword or a pattern of the schema repeats something more often.
    """
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, Mapping):
            for key, value in node.items():
                if key in _COUNT_KEYWORDS and isinstance(value, int | float) and value > MAX_REPETITIONS:
                    raise _repetition_error(f"`{key}` {value}")
                if key == "pattern" and isinstance(value, str):
                    check_regex_repetitions(value)
            pending += [value for key, value in node.items() if key not in _VALUE_KEYWORDS]
        elif isinstance(node, list | tuple):
            pending += node


def check_regex_repetitions(pattern: str) -> None:
    """Check that a regular expression repeats nothing more than `MAX_REPETITIONS` times.

    Raises:
        SettingError: a quantifier of the expression, such as `{1,1000000}`, exceeds the limit.
    """
    for match in _REPETITION.finditer(pattern):
        if any(len(count) > 9 or int(count) > MAX_REPETITIONS for count in match.groups() if count):
            raise _repetition_error(f"`{match[0][:30]}`")


def _repetition_error(description: str) -> SettingError:
    return SettingError(f"{description} repeats too often: choose at most {MAX_REPETITIONS:,}")
