"""What stands behind a way's colon: a number, or nothing."""

from __future__ import annotations

from softprompt.errors import SettingError


def number(way: str, argument: str | None, default: int, meaning: str) -> int:
    """The number behind `way:`, or the default where there is none; `meaning` says what it is.

    Raises:
        SettingError: it is no number above zero.
    """
    if argument is None:
        return default
    if not argument.isdecimal() or int(argument) < 1:
        raise SettingError(f"{way}:{argument}: say {meaning}, as in {way}:{default}")
    return int(argument)


def nothing(way: str, argument: str | None) -> None:
    """There may be nothing behind `way:`.

    Raises:
        SettingError: there is something.
    """
    if argument is not None:
        raise SettingError(f"{way}:{argument}: {way} takes nothing behind a colon")
