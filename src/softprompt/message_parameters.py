"""Parameters named in messages, in backticks and Python syntax: `learning_rate` or `placement="before"`.

Callers translate the parameters of a message: the command line to its flags, a server to the fields of its requests.
Text in quotation marks comes from the user and is not changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from softprompt.errors import SoftPromptError

_STRING_LITERAL = r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
_PARAMETER_PATTERN = re.compile(
    rf"(?<!\w)(?:{_STRING_LITERAL})|`(?P<name>[A-Za-z_]\w*)(?:=(?P<value>{_STRING_LITERAL}|[^`]*))?`"
)

ParameterReplacement = Callable[[str, str | None], str | None]
"""Returns the replacement for a parameter's name and its value in Python syntax; None keeps both."""


def replace_parameters(message: str, replacement: ParameterReplacement) -> str:
    """Replace each parameter that a message names."""

    def replace_match(match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        replaced = replacement(match["name"], match["value"])
        return match[0] if replaced is None else replaced

    return _PARAMETER_PATTERN.sub(replace_match, message)


def rename_parameters(message: str, names: Mapping[str, str]) -> str:
    """Rename parameters in a message; their values are kept."""

    def format_renamed(name: str, value: str | None) -> str | None:
        new_name = names.get(name)
        return None if new_name is None else f"`{new_name}`" if value is None else f"`{new_name}={value}`"

    return replace_parameters(message, format_renamed)


@contextmanager
def rename_parameters_in_errors(names: Mapping[str, str]) -> Iterator[None]:
    """Rename parameters in the messages of errors that are raised inside the context."""
    try:
        yield
    except SoftPromptError as error:
        raise error.with_message(rename_parameters(str(error), names)) from error
