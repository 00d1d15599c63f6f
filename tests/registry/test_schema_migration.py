"""Opening a registry of an earlier schema migrates it completely or not at all."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, inspect, text

from softprompt.registry import PromptRegistry, schema_migration
from softprompt.registry.database_tables import OrmBase
from softprompt.saved import SavedPrompt
from tests.registry.conftest import Home
from tests.registry.factories import check_whole

Prompts = list[SavedPrompt]

# What tells schema 3 from schema 2, undone.
UNDONE = (
    "DROP TABLE aliases",
    *(f"DROP INDEX {name}" for name in ("prompts_with_versions", "versions_there", "versions_by_content")),
    *(f"DROP INDEX {name}" for name in ("keys_in_order", "keys_of_tenant", "events_of_tenant", "events_of_prompt")),
    "DROP INDEX events_of_tenants_prompt",
    "CREATE INDEX ix_versions_content ON versions (content)",
    "CREATE INDEX ix_keys_tenant ON keys (tenant)",
    "CREATE INDEX ix_events_tenant ON events (tenant)",
    "ALTER TABLE tenants DROP COLUMN size",
    "ALTER TABLE prompts DROP COLUMN num_versions",
    "UPDATE softprompt_store SET schema = 2",
)


def make_old(store: PromptRegistry, saved: Prompts) -> None:
    """Fill a store, some of which is removed and deactivated, and take it back to schema 2."""
    store.register_prompt(saved[0], "a")
    store.register_prompt(saved[1], "a")
    store.activate_version("a@1", alias="canary")
    store.register_prompt(saved[2], "b", tenant="acme")
    store.deactivate_alias("b", tenant="acme")
    store.register_prompt(saved[0], "c", tenant="acme", activate=False)
    store.remove_versions("c", tenant="acme")
    with store._database.write_session() as session:
        for statement in UNDONE:
            session.execute(text(statement))


def tables(store: PromptRegistry) -> dict[str, tuple[set[str], set[str | None]]]:
    """The columns and the indexes of each table."""
    with store._database.read_session() as session:
        seen = inspect(session.connection())
        return {
            name: ({c["name"] for c in seen.get_columns(name)}, {i["name"] for i in seen.get_indexes(name)})
            for name in OrmBase.metadata.tables
        }


def test_opening_a_registry_of_an_earlier_schema_migrates_it(home: Home, saved: Prompts) -> None:
    with home.open(create=True) as store:
        made = tables(store)
        make_old(store, saved)
    with home.open() as store:
        assert tables(store) == made
        check_whole(store)
        assert [(prompt.name, prompt.aliases) for prompt in store.list_prompts()] == [
            ("b", {}),
            ("a", {"active": 2, "canary": 1}),
        ]
        assert store.resolve_version("a@canary").number == 1
        assert store.roll_back_alias("b", tenant="acme").number == 1
        check_whole(store)


def test_an_interrupted_migration_changes_nothing(home: Home, saved: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    with home.open(create=True) as store:
        make_old(store, saved)
        before = tables_of_old(store)
    fill = schema_migration.migrate_database

    def broken(connection: Connection) -> None:
        fill(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr("softprompt.registry.database.migrate_database", broken)
    with pytest.raises(KeyboardInterrupt):
        home.open()
    monkeypatch.undo()
    assert tables_of_old(store) == before
    store.close()
    with home.open() as store:
        check_whole(store)


def tables_of_old(store: PromptRegistry) -> dict[str, set[str]]:
    with store._database.read_session() as session:
        seen = inspect(session.connection())
        return {name: {column["name"] for column in seen.get_columns(name)} for name in seen.get_table_names()}
