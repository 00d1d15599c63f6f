"""What tenants, prompts and aliases may be called, and what `reviews`, `reviews@3` and `reviews@canary` refer to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from softprompt.errors import SettingError

ACTIVE = "active"  #: the alias that a bare name means
DEFAULT_TENANT = "default"  #: where nobody says whose a prompt is

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def checked_name(kind: str, name: str) -> str:
    """A name that may be one.

    Args:
        kind: what it is the name of, for the message.
        name: the name.

    Raises:
        SettingError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise SettingError(
            f"{name!r} is no name for a {kind}: write up to 100 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
        )
    return name


def checked_alias(name: str) -> str:
    """The name of an alias, which cannot be taken for a version's number.

    Raises:
        SettingError: it is none.
    """
    if name.isdigit():
        raise SettingError(f"{name!r} is no name for an alias: behind @ it would be a version's number")
    return checked_name("alias", name)


@dataclass(frozen=True)
class Reference:
    """What somebody wrote to say which version of a prompt is meant.

    Attributes:
        name: the prompt's.
        at: a version's number, an alias, or None where only the name was written.
    """

    name: str
    at: int | str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """`NAME`, `NAME@NUMBER` or `NAME@ALIAS`.

        Raises:
            SettingError: it is none of these.
        """
        name, separator, at = text.partition("@")
        checked_name("prompt", name)
        if not separator:
            return cls(name)
        if _NUMBER.fullmatch(at):
            return cls(name, int(at))
        if not at or at.isdigit():
            raise SettingError(f"{text!r}: write a version as NAME@3, counted from 1, or an alias as NAME@canary")
        return cls(name, checked_alias(at))

    def __str__(self) -> str:
        return self.name if self.at is None else f"{self.name}@{self.at}"
