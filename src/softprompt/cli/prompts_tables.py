"""How people see what is in a store, and what was done to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from rich.filesize import decimal

if TYPE_CHECKING:
    from softprompt.store import Event, StoredPrompt

PROMPT_TITLES = ("tenant", "version", "aliases", "task", "base model", "size", "added (UTC)", "by", "note")
EVENT_TITLES = ("when (UTC)", "who", "what", "tenant", "version", "details")


def prompt_rows(prompts: Iterable[StoredPrompt]) -> Iterator[tuple[str, ...]]:
    """A row a version."""
    for prompt in prompts:
        aliases: dict[int, list[str]] = {}
        for alias, number in prompt.aliases.items():
            aliases.setdefault(number, []).append(alias)
        for version in prompt.versions:
            pointing = ", ".join(aliases.get(version.number, ()))
            facts = (version.tenant, str(version), pointing, version.task, version.base)
            yield (*facts, decimal(version.size), _when(version.created_at), version.created_by, version.note)


def event_rows(events: Iterable[Event]) -> Iterator[tuple[str, ...]]:
    """A row an event."""
    for event in events:
        version = "" if event.prompt is None else f"{event.prompt}@{event.version}"
        details = ", ".join(f"{name} {value}" for name, value in event.details.items() if _is_short(value))
        yield _when(event.at), event.by, event.what, event.tenant or "", version, details


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _is_short(value: object) -> bool:
    """Whether people want to read it in a table; hashes they do not."""
    return isinstance(value, int) or (isinstance(value, str) and len(value) < 64)
