"""How people see the keys of a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.table import Column

if TYPE_CHECKING:
    from softprompt.store import Key


def key_titles() -> tuple[Column | str, ...]:
    """Of the columns."""
    return Column("id", no_wrap=True, min_width=12), "tenant", "scope", "name", "made (UTC)", "by", "state"


def key_rows(keys: Iterable[Key]) -> Iterator[tuple[str, ...]]:
    """A row a key."""
    for key in keys:
        made = f"{key.created_at:%Y-%m-%d %H:%M}"
        yield key.id, key.tenant, str(key.scope), key.name, made, key.created_by, _state(key)


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "valid"
    return f"{'valid until' if key.is_valid() else 'expired'} {key.expires_at:%Y-%m-%d %H:%M}"
