"""Stores with many prompts, whose folders nobody needs: rows alone, in one transaction."""

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
    """Add prompts to a store.

    Args:
        store: the store.
        saved: what each version is.
        names: the tenants' and the prompts'.
        versions: how many of each; the newest is active.
        aliases: further aliases of each, which point to its first version.
    """
    with store._database.write_session() as session:
        for tenant, name in names:
            change = PromptMutation(session, tenant, name, "ada")
            added = [change.add_version(saved, "0" * 64, "") for _ in range(versions)]
            for alias, version in {**dict.fromkeys(aliases, added[0]), "active": added[-1]}.items():
                change.activate_version(version, alias)


class Statements:
    """What is asked of the database meanwhile, but for transactions."""

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
