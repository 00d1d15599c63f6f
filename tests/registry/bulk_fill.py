"""Fills registries with many prompts in one transaction: database rows only, without artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, event

from softprompt.registry import PromptRegistry
from softprompt.registry.prompt_mutation import PromptMutation
from softprompt.saved import SavedPrompt

Named = Sequence[tuple[str, str]]


def fill_store(
    store: PromptRegistry, saved: SavedPrompt, names: Named, versions: int = 1, aliases: Sequence[str] = ()
) -> None:
    """Add prompts to a registry.

    Args:
        store: registry to fill.
        saved: saved prompt of every version.
        names: tenant and name of each prompt.
        versions: number of versions per prompt; the newest is active.
        aliases: further aliases of each prompt, which point to its first version.
    """
    with store._database.write_session() as session:
        for tenant, name in names:
            change = PromptMutation(session, tenant, name, "ada")
            added = [change.add_version(saved, "0" * 64, "") for _ in range(versions)]
            for alias, version in {**dict.fromkeys(aliases, added[0]), "active": added[-1]}.items():
                change.activate_version(version, alias)


class Statements:
    """Recorder of the SQL statements inside a `with` block, except those of transactions."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def __enter__(self) -> Statements:
        event.listen(Engine, "before_cursor_execute", self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "before_cursor_execute", self._hear)

    def _hear(self, _: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if not statement.startswith(("PRAGMA", "BEGIN")):
            self.asked.append((statement, parameters))

    def __len__(self) -> int:
        return len(self.asked)
