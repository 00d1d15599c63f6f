"""What the store tells of a key, and what a key may be good for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Scope(StrEnum):
    """What a key is good for."""

    USE = "use"  # ask the tenant's prompts
    MANAGE = "manage"  # that, and change them
    ADMIN = "admin"  # both, for every tenant

    def includes(self, other: Scope) -> bool:
        """Whether what `other` allows is allowed."""
        order = list(Scope)
        return order.index(other) <= order.index(self)


@dataclass(frozen=True)
class Key:
    """What is told of a key; never the key itself.

    Attributes:
        id: names it; it stands in the key's text.
        tenant: whose it is.
        scope: what it is good for.
        name: what it is for, in words.
        created_at: when it was made, in UTC.
        created_by: who made it.
        expires_at: from when on it is none any more; None for never.
        revoked_at: since when it is none any more; None if it was not revoked.
    """

    id: str
    tenant: str
    scope: Scope
    name: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, at: datetime | None = None) -> bool:
        """Whether it is a key at this moment, or at another one."""
        return self.revoked_at is None and (self.expires_at is None or (at or datetime.now(UTC)) < self.expires_at)
