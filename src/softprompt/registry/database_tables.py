"""Tables of a registry's database, for every database that SQLAlchemy supports.

softprompt_store   one row: version of the schema, id of the registry, location of the artifacts
tenants            name and total size of its versions
prompts            name within a tenant, and number of versions
versions           version number 1, 2, …: digest and metadata
aliases            the version that an alias points to now
activations        history of each alias: the newest row is the current one, a rollback deletes it
keys               hash, tenant and scope of each API key
events             audit log

The row of a removed version remains, with the time, so that its number is never reused. Sums and aliases are redundant:
they are updated in the transactions that change their sources, so that no request of a server becomes slower with the
length of the history. Lists are read by indexes, in their order. Columns keep the names of schema 2, and attributes
have the names of the code.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    String,
    Text,
    TextClause,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from softprompt.registry.api_key import ApiKey, ApiKeyScope
from softprompt.registry.audit_event import AuditEvent
from softprompt.registry.prompt_version import PromptVersion

SCHEMA_VERSION = 3


def has_versions_clause() -> TextClause:
    """Return the clause "the prompt has a version", without parameters, so that it matches a partial index."""
    return text("prompts.num_versions > 0")


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC, stored without a zone, which SQLite does not support."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert a time for the database."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert a time from the database."""
        return None if value is None else value.replace(tzinfo=UTC)


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class OrmBase(DeclarativeBase):
    """The base class of all tables."""


class RegistryRow(OrmBase):
    """The registry itself. This table has the column `schema` in every version, so that older code can detect it.

    Attributes:
        schema_version: version of the schema.
        registry_id: random id that distinguishes the registry from others.
        artifact_location: folder or URL of the artifact store; None for the default next to the database.
    """

    __tablename__ = "softprompt_store"
    id: Mapped[int] = mapped_column(primary_key=True)
    schema_version: Mapped[int] = mapped_column("schema")
    registry_id: Mapped[str] = mapped_column("identity", String(32))
    artifact_location: Mapped[str | None] = mapped_column("prompts", Text)


class TenantRow(OrmBase):
    """A tenant.

    Attributes:
        size_bytes: total size of the tenant's versions, without removed ones, in bytes.
    """

    __tablename__ = "tenants"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    size_bytes: Mapped[int] = mapped_column("size", BigInteger, default=0, server_default=text("0"))


class PromptRow(OrmBase):
    """A prompt of a tenant.

    Attributes:
        num_versions: number of versions, without removed ones.
    """

    __tablename__ = "prompts"
    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        Index(
            "prompts_with_versions",
            "tenant_id",
            "name",
            sqlite_where=text("num_versions > 0"),
            postgresql_where=text("num_versions > 0"),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(100))
    num_versions: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    tenant: Mapped[TenantRow] = relationship()


class VersionRow(OrmBase):
    """A version of a prompt; `removed_at` is set for a removed version."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("prompt_id", "number"),
        Index("versions_there", "prompt_id", "removed_at", "number"),
        Index("versions_by_content", "content", "removed_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    number: Mapped[int]
    digest: Mapped[str] = mapped_column("content", String(64))
    size_bytes: Mapped[int] = mapped_column("size", BigInteger)
    method: Mapped[str] = mapped_column(Text)
    num_virtual_tokens: Mapped[int]
    task: Mapped[str] = mapped_column(Text)
    base_model: Mapped[str] = mapped_column("base", Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text)
    removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    prompt: Mapped[PromptRow] = relationship()

    def to_prompt_version(self) -> PromptVersion:
        """Convert the row into a `PromptVersion`, which outlives the session."""
        return PromptVersion(
            tenant=self.prompt.tenant.name,
            name=self.prompt.name,
            number=self.number,
            digest=self.digest,
            size_bytes=self.size_bytes,
            method=self.method,
            num_virtual_tokens=self.num_virtual_tokens,
            task=self.task,
            base_model=self.base_model,
            fingerprint=self.fingerprint,
            created_at=self.created_at,
            created_by=self.created_by,
            note=self.note,
        )


class AliasRow(OrmBase):
    """An alias and the version that the alias points to.

    Attributes:
        tenant_id: tenant of the prompt; redundant, like `prompt_name`, so that an index lists a tenant's aliases.
        prompt_name: name of the prompt.
    """

    __tablename__ = "aliases"
    __table_args__ = (Index("aliases_of_tenant", "tenant_id", "prompt", "alias"),)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(String(100), primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))
    prompt_name: Mapped[str] = mapped_column("prompt", String(100))
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    version: Mapped[VersionRow] = relationship()


class ActivationRow(OrmBase):
    """An entry in the history of an alias: the version that it was pointed to, or None for a deactivation."""

    __tablename__ = "activations"
    __table_args__ = (Index("activations_in_order", "prompt_id", "alias", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    alias: Mapped[str] = mapped_column(String(100))
    version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    version: Mapped[VersionRow | None] = relationship()


class ApiKeyRow(OrmBase):
    """An API key. The row contains the tenant's name, because a tenant may have keys before prompts."""

    __tablename__ = "keys"
    __table_args__ = (
        Index("keys_in_order", "created_at", "id"),
        Index("keys_of_tenant", "tenant", "created_at", "id"),
    )
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    tenant: Mapped[str] = mapped_column(String(100))
    scope: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    def to_api_key(self) -> ApiKey:
        """Convert the row into an `ApiKey`, which outlives the session."""
        return ApiKey(
            id=self.id,
            tenant=self.tenant,
            scope=ApiKeyScope(self.scope),
            name=self.name,
            created_at=self.created_at,
            created_by=self.created_by,
            expires_at=self.expires_at,
            revoked_at=self.revoked_at,
        )


class AuditEventRow(OrmBase):
    """An event of the audit log. The row contains names instead of ids, so that the log never changes."""

    __tablename__ = "events"
    __table_args__ = (
        Index("events_of_tenant", "tenant", "id"),
        Index("events_of_prompt", "prompt", "id"),
        Index("events_of_tenants_prompt", "tenant", "prompt", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    timestamp: Mapped[datetime] = mapped_column("at", UtcDateTime)
    actor: Mapped[str] = mapped_column("by", Text)
    action: Mapped[str] = mapped_column("what", String(20))
    tenant: Mapped[str | None] = mapped_column(String(100))
    prompt: Mapped[str | None] = mapped_column(String(100))
    version: Mapped[int | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSON)

    def to_audit_event(self) -> AuditEvent:
        """Convert the row into an `AuditEvent`, which outlives the session."""
        names = self.tenant, self.prompt, self.version
        return AuditEvent(self.id, self.timestamp, self.actor, self.action, *names, self.details)
