"""API keys and their scopes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class ApiKeyScope(StrEnum):
    """Permissions of an API key, in ascending order: each scope includes those before it."""

    USE = "use"  # send requests to the tenant's prompts
    MANAGE = "manage"  # use and change the tenant's prompts
    ADMIN = "admin"  # use and change the prompts of every tenant

    def includes(self, scope: ApiKeyScope) -> bool:
        """Whether this scope permits everything that `scope` permits."""
        order = list(ApiKeyScope)
        return order.index(scope) <= order.index(self)


@dataclass(frozen=True)
class ApiKey:
    """The metadata of an API key; the secret itself is never stored.

    Attributes:
        id: identifier of the key, which is also part of its secret.
        tenant: tenant that owns the key.
        scope: what the key permits.
        name: free text that describes the key.
        created_at: time of creation, in UTC.
        created_by: actor that created the key.
        expires_at: time at which the key becomes invalid; None for never.
        revoked_at: time at which the key was revoked, or None.
    """

    id: str
    tenant: str
    scope: ApiKeyScope
    name: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, moment: datetime | None = None) -> bool:
        """Whether the key is valid at a moment; None means now."""
        return self.revoked_at is None and (self.expires_at is None or (moment or datetime.now(UTC)) < self.expires_at)
