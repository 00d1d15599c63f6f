"""What was typed, before anything is made of it: bytes that are not UTF-8 are named with their option."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from softprompt.errors import SettingError
from softprompt.unicode_text import fault_of, readable


def check_unicode(arguments: Sequence[str]) -> None:
    """Whether every argument is Unicode text. Files and folders that are there may be named in any bytes.

    Raises:
        SettingError: one is not; it is named with the option in front of it.
    """
    for before, argument in pairwise(["", *arguments]):
        option, value = _parted(before, argument)
        if (fault := fault_of(value)) and not Path(value).exists():
            raise SettingError(f"{option} '{readable(value)}' {fault}: write it in UTF-8, or set the terminal to it")


def _parted(before: str, argument: str) -> tuple[str, str]:
    """The option that an argument belongs to, and its value; `before` stands in front of it."""
    option, equals, value = argument.partition("=")
    if equals and option.startswith("-"):
        return option, value
    is_value = before.startswith("-") and "=" not in before
    return (before if is_value else "the argument"), argument
