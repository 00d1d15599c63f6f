"""Checks that command-line arguments are Unicode, and names the option of one that is not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from softprompt.errors import SettingError
from softprompt.unicode_text import escape_surrogates, find_unicode_error


def check_unicode(arguments: Sequence[str]) -> None:
    """Check that every argument is Unicode text. Names of existing files and folders may contain any bytes.

    Raises:
        SettingError: an argument is not Unicode. The message names the argument and its option.
    """
    for previous, argument in pairwise(["", *arguments]):
        option, value = _split_option(previous, argument)
        if (fault := find_unicode_error(value)) and not Path(value).exists():
            raise SettingError(
                f"{option} '{escape_surrogates(value)}' {fault}: use UTF-8, or set the terminal's encoding to UTF-8"
            )


def _split_option(previous: str, argument: str) -> tuple[str, str]:
    """Return the option that an argument belongs to, and the value. `previous` is the argument in front."""
    option, equals, value = argument.partition("=")
    if equals and option.startswith("-"):
        return option, value
    is_value = previous.startswith("-") and "=" not in previous
    return (previous if is_value else "argument"), argument
