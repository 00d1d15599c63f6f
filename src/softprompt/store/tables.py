"""The tables of the store's database, in words that every database of SQLAlchemy's understands.

softprompt_store   one row: the version of this schema, what tells the store from others, where its prompts lie
tenants            a name
prompts            a tenant's name for a prompt
versions           a prompt's number 1, 2, …: a content hash and what people want to know of it
activations        what an alias was pointed to, one behind the other: the newest one holds, a rollback deletes it
keys               a hash of each key that a server takes, whose it is and what for
events             who did what, and when

A removed version leaves its row behind, with the time, so that its number is not given again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from softprompt.store.event import Event
from softprompt.store.key import Key, Scope
from softprompt.store.version import Version

SCHEMA = 2


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
    """Somebody whose prompts nobody else sees."""

    __tablename__ = "tenants"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)


class PromptRow(Table):
    """A name of a tenant's."""

    __tablename__ = "prompts"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(100))
    tenant: Mapped[TenantRow] = relationship()


class VersionRow(Table):
    """A version of a prompt; one that has `removed_at` is not there any more."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("prompt_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    number: Mapped[int]
    content: Mapped[str] = mapped_column(String(64), index=True)
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
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    tenant: Mapped[str] = mapped_column(String(100), index=True)
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
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment)
    by: Mapped[str] = mapped_column(Text)
    what: Mapped[str] = mapped_column(String(20))
    tenant: Mapped[str | None] = mapped_column(String(100), index=True)
    prompt: Mapped[str | None] = mapped_column(String(100))
    version: Mapped[int | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSON)

    def value(self) -> Event:
        """What is told of it."""
        return Event(self.at, self.by, self.what, self.tenant, self.prompt, self.version, self.details)
