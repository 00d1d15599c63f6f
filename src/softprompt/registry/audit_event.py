"""Events of the audit log, and the name of the actor."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from softprompt.errors import SettingError


@dataclass(frozen=True)
class AuditEvent:
    """An entry of the audit log.

    Attributes:
        id: identifier; later events have larger ones.
        timestamp: time of the event, in UTC.
        actor: name of the user that made the change.
        action: `add`, `activate`, `deactivate`, `rollback`, `remove`, `collect`, `create-key` or `revoke-key`.
        tenant: tenant that owns the prompt or key; None for a change to the whole registry.
        prompt: name of the prompt, or None.
        version: number of the version, or None.
        details: further fields of the action, such as the alias.
    """

    id: int
    timestamp: datetime
    actor: str
    action: str
    tenant: str | None
    prompt: str | None
    version: int | None
    details: Mapping[str, Any]


def resolve_actor(actor: str | None) -> str:
    """Return the actor's name for the audit log; None means the operating system's user.

    Raises:
        SettingError: the name is empty, too long or not printable.
    """
    if actor is None:
        return _get_os_user()
    if not actor.strip() or not actor.isprintable() or len(actor) > 200:
        raise SettingError(f"invalid `actor` {actor!r}: use a name of 1 to 200 printable characters")
    return actor


def _get_os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, the user may have a number without a name
        return f"user {os.getuid()}"
