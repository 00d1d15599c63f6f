"""Formats registered prompts, audit events and API keys as table rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from rich.filesize import decimal
from rich.table import Column

if TYPE_CHECKING:
    from softprompt.registry import ApiKey, AuditEvent, RegisteredPrompt

PROMPT_COLUMNS = ("tenant", "version", "aliases", "task", "base model", "size", "added (UTC)", "added by", "note")
EVENT_COLUMNS = ("time (UTC)", "actor", "action", "tenant", "version", "details")


def iter_prompt_rows(prompts: Iterable[RegisteredPrompt]) -> Iterator[tuple[str, ...]]:
    """Yield one row per version."""
    for prompt in prompts:
        aliases: dict[int, list[str]] = {}
        for alias, number in prompt.aliases.items():
            aliases.setdefault(number, []).append(alias)
        for version in prompt.versions:
            alias_names = ", ".join(aliases.get(version.number, ()))
            columns = (version.tenant, str(version), alias_names, version.task, version.base_model)
            yield (
                *columns,
                decimal(version.size_bytes),
                _format_time(version.created_at),
                version.created_by,
                version.note,
            )


def iter_event_rows(events: Iterable[AuditEvent]) -> Iterator[tuple[str, ...]]:
    """Yield one row per event."""
    for event in events:
        version = "" if event.prompt is None else f"{event.prompt}@{event.version}"
        details = ", ".join(f"{name} {value}" for name, value in event.details.items() if _is_short(value))
        yield _format_time(event.timestamp), event.actor, event.action, event.tenant or "", version, details


def get_key_columns() -> tuple[Column | str, ...]:
    """Return the columns of a table of keys. They are made for each table, because a `Column` collects the cells of its table."""
    return Column("id", no_wrap=True, min_width=12), "tenant", "scope", "name", "created (UTC)", "created by", "status"


def iter_key_rows(keys: Iterable[ApiKey]) -> Iterator[tuple[str, ...]]:
    """Yield one row per key."""
    for key in keys:
        created_at = _format_time(key.created_at)
        yield key.id, key.tenant, str(key.scope), key.name, created_at, key.created_by, _key_status(key)


def _key_status(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "valid"
    return f"{'valid until' if key.is_valid() else 'expired'} {_format_time(key.expires_at)}"


def _format_time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


def _is_short(value: object) -> bool:
    """Return whether a value is short enough for a table, unlike a hash."""
    return isinstance(value, int) or (isinstance(value, str) and len(value) < 64)
