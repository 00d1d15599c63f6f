"""How people see the keys of a store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table

if TYPE_CHECKING:
    from softprompt.store import Key


def keys_table(keys: Iterable[Key]) -> Table:
    """A line a key."""
    table = Table(Column("id", no_wrap=True, min_width=12), "tenant", "scope", "name", "made (UTC)", "by", "state")
    for key in keys:
        made = f"{key.created_at:%Y-%m-%d %H:%M}"
        table.add_row(*map(escape, (key.id, key.tenant, key.scope, key.name, made, key.created_by, _state(key))))
    return table


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "valid"
    return f"{'valid until' if key.is_valid() else 'expired'} {key.expires_at:%Y-%m-%d %H:%M}"
