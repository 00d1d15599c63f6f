"""Migration of a registry's database from an older schema, in one transaction.

Schema 2 had no sums (`tenants.size`, `prompts.num_versions`), no table of aliases and fewer indexes. All of these can
be computed from its other tables.
"""

from __future__ import annotations

from sqlalchemy import Connection, Index, Table, inspect, text

from softprompt.registry.database_tables import AliasRow, ApiKeyRow, AuditEventRow, PromptRow, VersionRow

OLDEST_SCHEMA_VERSION = 2  # the schema of the first release

_ADD_COLUMN_STATEMENTS = (
    "ALTER TABLE tenants ADD COLUMN size BIGINT DEFAULT 0 NOT NULL",
    "ALTER TABLE prompts ADD COLUMN num_versions INTEGER DEFAULT 0 NOT NULL",
)
_OBSOLETE_INDEXES = ("ix_versions_content", "ix_keys_tenant", "ix_events_tenant")
_BACKFILLS = (
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
    """Migrate the tables from `OLDEST_SCHEMA_VERSION` to the current schema. The caller updates the version number.

    Args:
        connection: connection in a write transaction.
    """
    for statement in _ADD_COLUMN_STATEMENTS:
        connection.execute(text(statement))
    for name in _OBSOLETE_INDEXES:
        connection.execute(text(f"DROP INDEX {name}"))
    _get_table(AliasRow).create(connection)
    for model in (PromptRow, VersionRow, ApiKeyRow, AuditEventRow):
        for index in _find_missing_indexes(connection, _get_table(model)):
            index.create(connection)
    for statement in _BACKFILLS:
        connection.execute(text(statement))


def _find_missing_indexes(connection: Connection, table: Table) -> list[Index]:
    existing = {index["name"] for index in inspect(connection).get_indexes(table.name)}
    missing = (index for index in table.indexes if index.name not in existing)
    return sorted(missing, key=lambda index: str(index.name))


def _get_table(model: type) -> Table:
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table
