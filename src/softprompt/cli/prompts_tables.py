"""Formats registered prompts and audit events as table rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from rich.filesize import decimal

if TYPE_CHECKING:
    from softprompt.registry import AuditEvent, RegisteredPrompt

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


def _format_time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


def _is_short(value: object) -> bool:
    """Return whether a value is short enough for a table, unlike a hash."""
    return isinstance(value, int) or (isinstance(value, str) and len(value) < 64)
