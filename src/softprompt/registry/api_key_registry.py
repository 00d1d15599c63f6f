"""Registry of API keys. The database stores a hash of each secret, never the secret.

A secret has 256 random bits, so a fast hash cannot be inverted by guessing. A slow password hash would only make every
request more expensive, including requests with invalid keys.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import Select, literal, select, tuple_

from softprompt.errors import ApiKeyNotFound, SettingError
from softprompt.registry.api_key import ApiKey, ApiKeyScope
from softprompt.registry.audit_event import resolve_actor
from softprompt.registry.database import RegistryDatabase
from softprompt.registry.database_tables import ApiKeyRow, AuditEventRow, utc_now
from softprompt.registry.pagination import PAGE_SIZE, ResultPage, iterate_pages
from softprompt.registry.prompt_reference import DEFAULT_TENANT, validate_name

_SECRET_PATTERN = re.compile(r"sp-([0-9a-f]{12})-[A-Za-z0-9_-]{43}", re.ASCII)
_MAX_LIFETIME = timedelta(days=36_500)
_DUMMY_DIGEST = hashlib.sha256(b"").hexdigest()  # compared with the secrets of unknown key ids


class ApiKeyRegistry:
    """The API keys of a registry.

    Args:
        database: database of the registry.
    """

    def __init__(self, database: RegistryDatabase):
        self._database = database

    def create_key(
        self,
        tenant: str = DEFAULT_TENANT,
        scope: ApiKeyScope | str = ApiKeyScope.USE,
        *,
        name: str = "",
        expires_in: timedelta | None = None,
        actor: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Create a key. Return its metadata and its secret, which cannot be retrieved later.

        Args:
            tenant: tenant that owns the key; the tenant need not have prompts yet.
            scope: what the key permits.
            name: free text that describes the key.
            expires_in: time until the key becomes invalid; None for never.
            actor: name for the audit log; None uses the operating system's user.

        Raises:
            SettingError: invalid tenant, scope, name, lifetime or actor.
        """
        actor, scope = resolve_actor(actor), _parse_scope(scope)
        key_id = secrets.token_hex(6)
        secret, created_at = f"sp-{key_id}-{secrets.token_urlsafe(32)}", utc_now()
        row = ApiKeyRow(
            id=key_id,
            digest=_hash_secret(secret),
            tenant=validate_name("tenant", tenant),
            scope=scope,
            name=_check_key_name(name),
            created_at=created_at,
            created_by=actor,
            expires_at=None if expires_in is None else created_at + _check_lifetime(expires_in),
        )
        with self._database.write_session() as session:
            session.add(row)
            session.add(_make_event("create-key", row, actor))
            session.flush()
            return row.to_api_key(), secret

    def iterate_keys(self, tenant: str | None = None) -> Iterator[ApiKey]:
        """Iterate over the keys of a tenant, or of all tenants, oldest first, including expired and revoked ones."""

        def fetch_page(last: ApiKey | None) -> ResultPage[ApiKey]:
            with self._database.read_session() as session:
                rows = session.scalars(_select_keys(tenant, last, PAGE_SIZE + 1))
                return ResultPage.from_results([row.to_api_key() for row in rows], PAGE_SIZE)

        return iterate_pages(fetch_page)

    def has_keys(self) -> bool:
        """Whether the registry has any key, including expired and revoked ones."""
        with self._database.read_session() as session:
            return session.scalar(select(ApiKeyRow.id).limit(1)) is not None

    def revoke_key(self, key_id: str, *, actor: str | None = None) -> ApiKey:
        """Revoke a key permanently and return it. A revoked key stays unchanged.

        Args:
            key_id: identifier of the key, or its whole secret.
            actor: name for the audit log; None uses the operating system's user.

        Raises:
            ApiKeyNotFound: the key does not exist.
        """
        actor = resolve_actor(actor)
        if match := _SECRET_PATTERN.fullmatch(key_id):
            key_id = match[1]
        with self._database.write_session() as session:
            row = session.get(ApiKeyRow, key_id)
            if row is None:
                raise ApiKeyNotFound("API key not found: `softprompt keys list` shows the existing ones")
            if row.revoked_at is None:
                row.revoked_at = utc_now()
                session.add(_make_event("revoke-key", row, actor))
            return row.to_api_key()

    def authenticate_secret(self, secret: str) -> ApiKey | None:
        """Return the valid key with a secret, or None. The comparison takes constant time."""
        match = _SECRET_PATTERN.fullmatch(secret)
        if match is None:
            return None
        with self._database.read_session() as session:
            row = session.get(ApiKeyRow, match[1])
            is_equal = hmac.compare_digest(_hash_secret(secret), _DUMMY_DIGEST if row is None else row.digest)
            key = row.to_api_key() if row is not None and is_equal else None
        return key if key is not None and key.is_valid() else None


def _select_keys(tenant: str | None, after: ApiKey | None, limit: int) -> Select[ApiKeyRow]:
    query = select(ApiKeyRow).order_by(ApiKeyRow.created_at, ApiKeyRow.id).limit(limit)
    if tenant is not None:
        query = query.where(ApiKeyRow.tenant == tenant)
    if after is not None:
        # In the column's type, without a zone: PostgreSQL would take a plain value as local time.
        moment = literal(after.created_at, ApiKeyRow.created_at.type)
        query = query.where(tuple_(ApiKeyRow.created_at, ApiKeyRow.id) > tuple_(moment, after.id))
    return query


def _hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _make_event(action: str, row: ApiKeyRow, actor: str) -> AuditEventRow:
    details = {"key": row.id, "scope": str(row.scope), **({"name": row.name} if row.name else {})}
    return AuditEventRow(timestamp=utc_now(), actor=actor, action=action, tenant=row.tenant, details=details)


def _parse_scope(scope: ApiKeyScope | str) -> ApiKeyScope:
    try:
        return ApiKeyScope(scope)
    except ValueError as error:
        raise SettingError(f"unknown scope {scope!r}: choose one of {', '.join(ApiKeyScope)}") from error


def _check_key_name(name: str) -> str:
    if len(name) > 200 or not name.isprintable():
        raise SettingError(f"invalid key name {name!r}: use up to 200 printable characters")
    return name


def _check_lifetime(lifetime: timedelta) -> timedelta:
    if not timedelta() < lifetime <= _MAX_LIFETIME:
        raise SettingError(f"invalid lifetime: `expires_in` must be 1 to {_MAX_LIFETIME.days} days, or omitted")
    return lifetime
