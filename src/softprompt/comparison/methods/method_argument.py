"""Parses the argument after the colon of a method's name."""

from __future__ import annotations

from softprompt.errors import SettingError


def parse_count(method: str, argument: str | None, default: int, description: str) -> int:
    """Return the number after `METHOD:`, or the default if there is no argument.

    Args:
        method: name of the method.
        argument: text after the colon, or None.
        default: value without an argument.
        description: what the number means, for the message.

    Raises:
        SettingError: the argument is not a positive integer.
    """
    if argument is None:
        return default
    if not argument.isdecimal() or int(argument) < 1:
        raise SettingError(f"{method}:{argument}: pass {description} as a positive integer, as in {method}:{default}")
    return int(argument)


def reject_argument(method: str, argument: str | None) -> None:
    """Check that a method has no argument.

    Raises:
        SettingError: there is an argument.
    """
    if argument is not None:
        raise SettingError(f"{method}:{argument}: {method} takes no argument")
