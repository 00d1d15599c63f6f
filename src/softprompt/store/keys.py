"""Keys: who may ask a server, for whom and what. Of a key only a hash is kept.

A key's secret is 256 random bits, so nobody guesses one that has a certain hash, however fast the hash is. A slow hash
is for what people think up; here it would only make every request dearer, and those of strangers too.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import Select, literal, select, tuple_

from softprompt.errors import SettingError, UnknownKey
from softprompt.store.database import Database
from softprompt.store.event import who
from softprompt.store.key import Key, Scope
from softprompt.store.names import DEFAULT_TENANT, checked_name
from softprompt.store.page import AT_ONCE, Page, go_through
from softprompt.store.tables import EventRow, KeyRow, now

_TEXT = re.compile(r"sp-([0-9a-f]{12})-[A-Za-z0-9_-]{43}", re.ASCII)
_LONGEST_LIFE = timedelta(days=36_500)
_NOBODYS = hashlib.sha256(b"").hexdigest()  # no key's: what one that is unknown is compared with


class Keys:
    """The keys of a store.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database):
        self._database = database

    def create(
        self,
        tenant: str = DEFAULT_TENANT,
        scope: Scope | str = Scope.USE,
        *,
        name: str = "",
        expires_in: timedelta | None = None,
        by: str | None = None,
    ) -> tuple[Key, str]:
        """A new key, and its text, which is told this once.

        Args:
            tenant: whose it is; it needs no prompts yet.
            scope: what it is good for.
            name: what it is for, in words.
            expires_in: after which time it is none any more; None for never.
            by: who makes it; the operating system's user, if None.

        Raises:
            SettingError: a tenant, a scope, a name or a time that cannot be.
        """
        by, scope = who(by), _checked_scope(scope)
        key_id = secrets.token_hex(6)
        text, made = f"sp-{key_id}-{secrets.token_urlsafe(32)}", now()
        row = KeyRow(
            id=key_id,
            digest=_digest(text),
            tenant=checked_name("tenant", tenant),
            scope=scope,
            name=_checked_words(name),
            created_at=made,
            created_by=by,
            expires_at=None if expires_in is None else made + _checked_life(expires_in),
        )
        with self._database.writing() as session:
            session.add(row)
            session.add(_event("create-key", row, by))
            session.flush()
            return row.value(), text

    def list(self, tenant: str | None = None) -> list[Key]:
        """A tenant's keys, or everybody's, those that are none any more too; the oldest first."""
        return [*self.iterate_all(tenant)]

    def iterate_all(self, tenant: str | None = None) -> Iterator[Key]:
        """The same, read while they are gone through, a page at a time."""

        def read(last: Key | None) -> Page[Key]:
            with self._database.reading() as session:
                found = session.scalars(_list_keys(tenant, last, AT_ONCE + 1))
                return Page.cut_from([row.value() for row in found], AT_ONCE)

        return go_through(read)

    def has_any(self) -> bool:
        """Whether a key was ever made."""
        with self._database.reading() as session:
            return session.scalar(select(KeyRow.id).limit(1)) is not None

    def revoke(self, key_id: str, *, by: str | None = None) -> Key:
        """Make a key none for ever; gives it. One that was revoked stays as it is.

        Args:
            key_id: what names it. A key's whole text is understood as well.
            by: who does it; the operating system's user, if None.

        Raises:
            UnknownKey: there is no such key.
        """
        by = who(by)
        if found := _TEXT.fullmatch(key_id):
            key_id = found[1]
        with self._database.writing() as session:
            row = session.get(KeyRow, key_id)
            if row is None:
                raise UnknownKey("there is no such key: `softprompt keys list` shows what there is")
            if row.revoked_at is None:
                row.revoked_at = now()
                session.add(_event("revoke-key", row, by))
            return row.value()

    def find(self, text: str) -> Key | None:
        """The key with this text, if there is one and it is valid now. How long it takes tells nothing of a secret."""
        parsed = _TEXT.fullmatch(text)
        if parsed is None:
            return None
        with self._database.reading() as session:
            row = session.get(KeyRow, parsed[1])
            same = hmac.compare_digest(_digest(text), _NOBODYS if row is None else row.digest)
            key = row.value() if row is not None and same else None
        return key if key is not None and key.is_valid() else None


def _list_keys(tenant: str | None, after: Key | None, limit: int) -> Select[KeyRow]:
    query = select(KeyRow).order_by(KeyRow.created_at, KeyRow.id).limit(limit)
    if tenant is not None:
        query = query.where(KeyRow.tenant == tenant)
    if after is not None:
        moment = literal(after.created_at, KeyRow.created_at.type)  # as stored: PostgreSQL would take it as local time
        query = query.where(tuple_(KeyRow.created_at, KeyRow.id) > tuple_(moment, after.id))
    return query


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _event(what: str, row: KeyRow, by: str) -> EventRow:
    details = {"key": row.id, "scope": str(row.scope), **({"name": row.name} if row.name else {})}
    return EventRow(at=now(), by=by, what=what, tenant=row.tenant, details=details)


def _checked_scope(scope: Scope | str) -> Scope:
    try:
        return Scope(scope)
    except ValueError as error:
        raise SettingError(f"{scope!r} is no scope: choose {', '.join(Scope)}") from error


def _checked_words(name: str) -> str:
    if len(name) > 200 or not name.isprintable():
        raise SettingError(f"{name!r} does not name a key: write up to 200 printable characters")
    return name


def _checked_life(time: timedelta) -> timedelta:
    if not timedelta() < time <= _LONGEST_LIFE:
        raise SettingError(f"a key is valid for 1 to {_LONGEST_LIFE.days} days, or for ever without `expires_in`")
    return time
