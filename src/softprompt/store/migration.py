"""Bring a store's database from an earlier schema to this one, in one transaction.

Schema 2 had no sums (`tenants.size`, `prompts.num_versions`), no table of aliases and fewer indexes. All of these
follow from what it had.
"""

from __future__ import annotations

from sqlalchemy import Connection, Index, Table, inspect, text

from softprompt.store.tables import AliasRow, EventRow, KeyRow, PromptRow, VersionRow

OLDEST = 2  # the schema of the first release

_COLUMNS = (
    "ALTER TABLE tenants ADD COLUMN size BIGINT DEFAULT 0 NOT NULL",
    "ALTER TABLE prompts ADD COLUMN num_versions INTEGER DEFAULT 0 NOT NULL",
)
_REPLACED_INDEXES = ("ix_versions_content", "ix_keys_tenant", "ix_events_tenant")
_VALUES = (
    """UPDATE prompts SET num_versions = (
        SELECT count(*) FROM versions WHERE versions.prompt_id = prompts.id AND versions.removed_at IS NULL)""",
    """UPDATE tenants SET size = (
        SELECT coalesce(sum(versions.size), 0) FROM versions JOIN prompts ON prompts.id = versions.prompt_id
        WHERE prompts.tenant_id = tenants.id AND versions.removed_at IS NULL)""",
    """INSERT INTO aliases (prompt_id, alias, tenant_id, prompt, version_id)
        SELECT prompts.id, activations.alias, prompts.tenant_id, prompts.name, activations.version_id
        FROM activations JOIN prompts ON prompts.id = activations.prompt_id
        WHERE activations.version_id IS NOT NULL
        AND activations.id IN (SELECT max(id) FROM activations GROUP BY prompt_id, alias)""",
)


def migrate_database(connection: Connection) -> None:
    """Make the tables of `OLDEST` those of this schema. Whoever calls it writes the schema's number.

    Args:
        connection: in a transaction that writes.
    """
    for statement in _COLUMNS:
        connection.execute(text(statement))
    for name in _REPLACED_INDEXES:
        connection.execute(text(f"DROP INDEX {name}"))
    _table(AliasRow).create(connection)
    for row in (PromptRow, VersionRow, KeyRow, EventRow):
        for index in _missing_indexes(connection, _table(row)):
            index.create(connection)
    for statement in _VALUES:
        connection.execute(text(statement))


def _missing_indexes(connection: Connection, table: Table) -> list[Index]:
    there = {index["name"] for index in inspect(connection).get_indexes(table.name)}
    return sorted((index for index in table.indexes if index.name not in there), key=lambda index: str(index.name))


def _table(row: type) -> Table:
    table: Table = row.__table__  # type: ignore[attr-defined]
    return table
