"""Parameters that a message names, as Python writes them in backticks: `learning_rate`, or `placement="before"`.

Whoever passes a message on puts their own names in: the command line its flags, a server its request's fields. What
stands in quotation marks is the user's own text, and stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from softprompt.errors import SoftPromptError

_TEXT = r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
_NAMED = re.compile(rf"(?<!\w)(?:{_TEXT})|`(?P<name>[A-Za-z_]\w*)(?:=(?P<value>{_TEXT}|[^`]*))?`")

Replacement = Callable[[str, str | None], str | None]
"""What to write for a parameter's name and its value, as Python writes it; None to leave both as they are."""


def replace_parameters(message: str, replacement: Replacement) -> str:
    """The message with another way to write each parameter that it names."""

    def written(found: re.Match[str]) -> str:
        if found["name"] is None:
            return found[0]
        written = replacement(found["name"], found["value"])
        return found[0] if written is None else written

    return _NAMED.sub(written, message)


def rename_parameters(message: str, names: Mapping[str, str]) -> str:
    """The message with other names for some parameters, their values as they were."""

    def written(name: str, value: str | None) -> str | None:
        new = names.get(name)
        return None if new is None else f"`{new}`" if value is None else f"`{new}={value}`"

    return replace_parameters(message, written)


@contextmanager
def renamed_parameters(names: Mapping[str, str]) -> Iterator[None]:
    """Have errors from within name parameters as the caller of what is without has them."""
    try:
        yield
    except SoftPromptError as error:
        error.args = (rename_parameters(str(error), names),)
        raise
