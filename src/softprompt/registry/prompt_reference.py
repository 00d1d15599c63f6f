"""Names of tenants, prompts and aliases, and references such as `reviews`, `reviews@3` and `reviews@canary`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from softprompt.errors import SettingError

ACTIVE_ALIAS = "active"  #: the alias that a bare prompt name refers to
DEFAULT_TENANT = "default"  #: the tenant of calls that name no other

_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_NUMBER_PATTERN = re.compile(r"[1-9][0-9]{0,8}")


def validate_name(kind: str, name: str) -> str:
    """Check the name of a tenant, prompt or alias, and return it.

    Args:
        kind: kind of the named object, for the error message.
        name: the name.

    Raises:
        SettingError: the name is invalid.
    """
    if not _NAME_PATTERN.fullmatch(name):
        raise SettingError(
            f"invalid {kind} name {name!r}: use 1 to 100 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
        )
    return name


def validate_alias(name: str) -> str:
    """Check the name of an alias, which must differ from a version number, and return it.

    Raises:
        SettingError: the name is invalid.
    """
    if name.isdigit():
        raise SettingError(f"invalid alias name {name!r}: it could be confused with a version number, use a letter")
    return validate_name("alias", name)


@dataclass(frozen=True)
class PromptReference:
    """A reference to a version of a prompt.

    Attributes:
        name: name of the prompt.
        selector: a version number, an alias, or None for a bare name.
    """

    name: str
    selector: int | str | None = None

    @classmethod
    def parse_reference(cls, text: str) -> PromptReference:
        """Parse `NAME`, `NAME@NUMBER` or `NAME@ALIAS`.

        Raises:
            SettingError: the reference is malformed.
        """
        name, separator, selector = text.partition("@")
        validate_name("prompt", name)
        if not separator:
            return cls(name)
        if _NUMBER_PATTERN.fullmatch(selector):
            return cls(name, int(selector))
        if not selector or selector.isdigit():
            raise SettingError(
                f"invalid reference {text!r}: write a version as NAME@3, counted from 1, or an alias as NAME@canary"
            )
        return cls(name, validate_alias(selector))

    def require_selector(self) -> int | str:
        """Return the version number or the alias.

        Raises:
            SettingError: the reference is a bare name.
        """
        if self.selector is None:
            raise SettingError(f"{self.name!r} names no version: write it as {self.name}@3")
        return self.selector

    def require_alias(self) -> str:
        """Return the alias, which is `active` for a bare name.

        Raises:
            SettingError: the reference is a version number.
        """
        if isinstance(self.selector, int):
            raise SettingError(f"{self} is a version number: name an alias, such as {self.name}@canary")
        return self.selector or ACTIVE_ALIAS

    def require_number_or_bare(self) -> int | None:
        """Return the version number, or None for a bare name.

        Raises:
            SettingError: the reference is an alias.
        """
        if isinstance(self.selector, str):
            raise SettingError(f"{self} is an alias: remove a version by its number, such as {self.name}@3")
        return self.selector

    def __str__(self) -> str:
        return self.name if self.selector is None else f"{self.name}@{self.selector}"
