"""Who did what, and when."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from softprompt.errors import SettingError


@dataclass(frozen=True)
class Event:
    """Something that was done to the store.

    Attributes:
        id: names it; what was done later has a larger one.
        at: when, in UTC.
        by: who did it.
        what: `add`, `activate`, `deactivate`, `rollback`, `remove`, `collect`, `create-key` or `revoke-key`.
        tenant: whose prompt or key it was; None where it was nobody's.
        prompt: its name, or None.
        version: the number of the version, or None.
        details: what else there is to say, such as the alias.
    """

    id: int
    at: datetime
    by: str
    what: str
    tenant: str | None
    prompt: str | None
    version: int | None
    details: Mapping[str, Any]


def who(by: str | None) -> str:
    """Who does something: the name that was said, or else that of the operating system's user.

    Raises:
        SettingError: what was said cannot stand in a log.
    """
    if by is None:
        return _user()
    if not by.strip() or not by.isprintable() or len(by) > 200:
        raise SettingError(f"{by!r} does not say who: write a name of up to 200 printable characters")
    return by


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, a user that has a number and no name
        return f"user {os.getuid()}"
