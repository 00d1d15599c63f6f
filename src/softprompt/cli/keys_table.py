"""Formats API keys as table rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.table import Column

if TYPE_CHECKING:
    from softprompt.registry import ApiKey


def get_key_columns() -> tuple[Column | str, ...]:
    """Return the columns of the table of keys."""
    return Column("id", no_wrap=True, min_width=12), "tenant", "scope", "name", "created (UTC)", "created by", "status"


def iter_key_rows(keys: Iterable[ApiKey]) -> Iterator[tuple[str, ...]]:
    """Yield one row per key."""
    for key in keys:
        created_at = f"{key.created_at:%Y-%m-%d %H:%M}"
        yield key.id, key.tenant, str(key.scope), key.name, created_at, key.created_by, _key_status(key)


def _key_status(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "valid"
    return f"{'valid until' if key.is_valid() else 'expired'} {key.expires_at:%Y-%m-%d %H:%M}"
