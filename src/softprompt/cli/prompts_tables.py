"""How people see what is in a store, and what was done to it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from softprompt.unicode_text import escape_controls

if TYPE_CHECKING:
    from softprompt.store import Event, StoredPrompt


def prompts_table(prompts: Iterable[StoredPrompt]) -> Table:
    """A line a version."""
    table = Table("tenant", "version", "aliases", "task", "base model", "size", "added (UTC)", "by", "note")
    for prompt in prompts:
        for version in prompt.versions:
            aliases = [alias for alias, number in prompt.aliases.items() if number == version.number]
            facts = (version.tenant, str(version), ", ".join(aliases), version.task, version.base)
            added = (decimal(version.size), _when(version.created_at), version.created_by, version.note)
            table.add_row(*map(_on_one_line, facts + added))
    return table


def events_table(events: Iterable[Event]) -> Table:
    """A line an event."""
    table = Table("when (UTC)", "who", "what", "tenant", "version", "details")
    for event in events:
        version = "" if event.prompt is None else f"{event.prompt}@{event.version}"
        details = ", ".join(f"{name} {value}" for name, value in event.details.items() if _is_short(value))
        cells = (_when(event.at), event.by, event.what, event.tenant or "", version, details)
        table.add_row(*map(_on_one_line, cells))
    return table


def _on_one_line(text: str) -> str:
    """A cell of a table: who wrote it ends no line, and so makes up no other row."""
    return escape(escape_controls(text, keep=""))


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _is_short(value: object) -> bool:
    """Whether people want to read it in a table; hashes they do not."""
    return isinstance(value, int) or (isinstance(value, str) and len(value) < 64)
