"""A store of an earlier schema is brought to this one by whoever opens it, whole or not at all."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, inspect, text

from softprompt.saved import SavedPrompt
from softprompt.store import Store, migration
from softprompt.store.tables import Table
from tests.store.conftest import Home
from tests.store.making import check_whole

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


def make_old(store: Store, saved: Prompts) -> None:
    """Fill a store, some of which is removed and deactivated, and take it back to schema 2."""
    store.add(saved[0], "a")
    store.add(saved[1], "a")
    store.activate("a@1", alias="canary")
    store.add(saved[2], "b", tenant="acme")
    store.deactivate("b", tenant="acme")
    store.add(saved[0], "c", tenant="acme", activate=False)
    store.remove("c", tenant="acme")
    with store._database.writing() as session:
        for statement in UNDONE:
            session.execute(text(statement))


def tables(store: Store) -> dict[str, tuple[set[str], set[str | None]]]:
    """The columns and the indexes of each table."""
    with store._database.reading() as session:
        seen = inspect(session.connection())
        return {
            name: ({c["name"] for c in seen.get_columns(name)}, {i["name"] for i in seen.get_indexes(name)})
            for name in Table.metadata.tables
        }


def test_an_earlier_store_is_brought_to_this_schema(home: Home, saved: Prompts) -> None:
    with home.open(create=True) as store:
        made = tables(store)
        make_old(store, saved)
    with home.open() as store:
        assert tables(store) == made
        check_whole(store)
        assert [(prompt.name, prompt.aliases) for prompt in store.prompts()] == [
            ("b", {}),
            ("a", {"active": 2, "canary": 1}),
        ]
        assert store.resolve("a@canary").number == 1
        assert store.roll_back("b", tenant="acme").number == 1
        check_whole(store)


def test_a_migration_that_breaks_off_changes_nothing(
    home: Home, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.open(create=True) as store:
        make_old(store, saved)
        before = tables_of_old(store)
    fill = migration.migrate_database

    def broken(connection: Connection) -> None:
        fill(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr("softprompt.store.database.migrate_database", broken)
    with pytest.raises(KeyboardInterrupt):
        home.open()
    monkeypatch.undo()
    assert tables_of_old(store) == before
    store.close()
    with home.open() as store:
        check_whole(store)


def tables_of_old(store: Store) -> dict[str, set[str]]:
    with store._database.reading() as session:
        seen = inspect(session.connection())
        return {name: {column["name"] for column in seen.get_columns(name)} for name in seen.get_table_names()}
