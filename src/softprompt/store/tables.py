"""The tables of the store's database, in words that every database of SQLAlchemy's understands.

softprompt_store   one row: the version of this schema, what tells the store from others, where its prompts lie
tenants            a name, and the bytes of all its versions together
prompts            a tenant's name for a prompt, and how many versions it has
versions           a prompt's number 1, 2, …: a content hash and what people want to know of it
aliases            what an alias points to now
activations        what an alias was pointed to, one behind the other: the newest one holds, a rollback deletes it
keys               a hash of each key that a server takes, whose it is and what for
events             who did what, and when

A removed version leaves its row behind, with the time, so that its number is not given again. Sums and aliases follow
from other tables. They are kept, each changed in the transaction that changes what it follows from, so that nothing
that a server asks for grows with what was there once. Lists are read by indexes, in their order.
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

from softprompt.store.event import Event
from softprompt.store.key import Key, Scope
from softprompt.store.version import Version

SCHEMA = 3


def has_versions() -> TextClause:
    """That a prompt has a version that is there. Written out, not as a parameter: so an index can have it, too."""
    return text("prompts.num_versions > 0")


class Moment(TypeDecorator[datetime]):
    """A time in UTC, kept without its zone, since SQLite keeps none."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To the database."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From the database."""
        return None if value is None else value.replace(tzinfo=UTC)


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


class Table(DeclarativeBase):
    """The root of all tables."""


class StoreRow(Table):
    """The store itself. Every schema has this table with `schema`, so that an older softprompt can refuse it.

    Attributes:
        schema: the version of it.
        identity: tells the store from others that would keep their prompts in the same place.
        prompts: the place of its prompts, a folder or a URL; None where that is beside the database.
    """

    __tablename__ = "softprompt_store"
    id: Mapped[int] = mapped_column(primary_key=True)
    schema: Mapped[int]
    identity: Mapped[str] = mapped_column(String(32))
    prompts: Mapped[str | None] = mapped_column(Text)


class TenantRow(Table):
    """Somebody whose prompts nobody else sees.

    Attributes:
        size: bytes of all its versions that are there.
    """

    __tablename__ = "tenants"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    size: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))


class PromptRow(Table):
    """A name of a tenant's.

    Attributes:
        num_versions: versions that are there.
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


class VersionRow(Table):
    """A version of a prompt; one that has `removed_at` is not there any more."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("prompt_id", "number"),
        Index("versions_there", "prompt_id", "removed_at", "number"),
        Index("versions_by_content", "content", "removed_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    number: Mapped[int]
    content: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    method: Mapped[str] = mapped_column(Text)
    num_virtual_tokens: Mapped[int]
    task: Mapped[str] = mapped_column(Text)
    base: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Moment)
    created_by: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text)
    removed_at: Mapped[datetime | None] = mapped_column(Moment)
    prompt: Mapped[PromptRow] = relationship()

    def value(self) -> Version:
        """What is told of it."""
        return Version(
            tenant=self.prompt.tenant.name,
            name=self.prompt.name,
            number=self.number,
            content=self.content,
            size=self.size,
            method=self.method,
            num_virtual_tokens=self.num_virtual_tokens,
            task=self.task,
            base=self.base,
            fingerprint=self.fingerprint,
            created_at=self.created_at,
            created_by=self.created_by,
            note=self.note,
        )


class AliasRow(Table):
    """What an alias points to now; one that points to nothing has no row.

    Attributes:
        tenant_id: the prompt's tenant, written out, as is the next one: a tenant's aliases are listed by an index.
        prompt: the prompt's name.
    """

    __tablename__ = "aliases"
    __table_args__ = (Index("aliases_of_tenant", "tenant_id", "prompt", "alias"),)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(String(100), primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))
    prompt: Mapped[str] = mapped_column(String(100))
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    version: Mapped[VersionRow] = relationship()


class ActivationRow(Table):
    """An alias was pointed to a version, or to none."""

    __tablename__ = "activations"
    __table_args__ = (Index("activations_in_order", "prompt_id", "alias", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    alias: Mapped[str] = mapped_column(String(100))
    version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    version: Mapped[VersionRow | None] = relationship()


class KeyRow(Table):
    """A key, as far as it is kept. Its tenant is written out, since one may have keys before prompts."""

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
    created_at: Mapped[datetime] = mapped_column(Moment)
    created_by: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime | None] = mapped_column(Moment)
    revoked_at: Mapped[datetime | None] = mapped_column(Moment)

    def value(self) -> Key:
        """What is told of it."""
        return Key(
            id=self.id,
            tenant=self.tenant,
            scope=Scope(self.scope),
            name=self.name,
            created_at=self.created_at,
            created_by=self.created_by,
            expires_at=self.expires_at,
            revoked_at=self.revoked_at,
        )


class EventRow(Table):
    """Something was done. Names are written out: the log does not change with what it tells of."""

    __tablename__ = "events"
    __table_args__ = (
        Index("events_of_tenant", "tenant", "id"),
        Index("events_of_prompt", "prompt", "id"),
        Index("events_of_tenants_prompt", "tenant", "prompt", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment)
    by: Mapped[str] = mapped_column(Text)
    what: Mapped[str] = mapped_column(String(20))
    tenant: Mapped[str | None] = mapped_column(String(100))
    prompt: Mapped[str | None] = mapped_column(String(100))
    version: Mapped[int | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSON)

    def value(self) -> Event:
        """What is told of it."""
        names = self.tenant, self.prompt, self.version
        return Event(self.id, self.at, self.by, self.what, *names, self.details)
