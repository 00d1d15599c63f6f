"""API keys: creation, authentication, revocation and expiry; secrets are never stored."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from softprompt.errors import ApiKeyNotFound, SettingError
from softprompt.registry import ApiKey, ApiKeyScope, PromptRegistry
from softprompt.registry import api_key as key_module
from softprompt.registry import api_key_registry as keys_module
from softprompt.registry.database import RegistryDatabase
from softprompt.registry.sqlite_backend import SqliteBackend
from tests.registry.conftest import Home


def test_a_created_key_authenticates_and_is_listed_for_its_tenant(store: PromptRegistry, home: Home) -> None:
    before = datetime.now(UTC)
    key, text = store.api_keys.create_key("acme", ApiKeyScope.MANAGE, name="the shop", actor="ada")
    assert (key.tenant, key.scope, key.name, key.created_by) == ("acme", "manage", "the shop", "ada")
    assert key.expires_at is None
    assert key.revoked_at is None
    assert before <= key.created_at <= datetime.now(UTC)
    assert store.api_keys.authenticate_secret(text) == key
    assert list(store.api_keys.iterate_keys()) == list(store.api_keys.iterate_keys("acme")) == [key]
    assert list(store.api_keys.iterate_keys("bolt")) == []
    with home.open() as again:
        assert again.api_keys.authenticate_secret(text) == key


def test_secrets_of_keys_are_random_and_only_their_hashes_are_stored(tmp_path: Path) -> None:
    store = PromptRegistry.open(tmp_path, create=True)
    texts = [store.api_keys.create_key()[1] for _ in range(3)]
    assert len(set(texts)) == 3
    for text in texts:
        assert re.fullmatch(r"sp-[0-9a-f]{12}-[\w-]{43}", text)
    store.close()
    secrets = [text.split("-", 2)[2] for text in texts]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("store.sqlite*"))
    assert len(kept) > 1000
    assert not [secret for secret in secrets if secret.encode() in kept]


def test_authenticating_a_wrong_secret_returns_none(store: PromptRegistry) -> None:
    one, other = (store.api_keys.create_key()[1] for _ in range(2))
    mixed = "-".join([*one.split("-", 2)[:2], other.split("-", 2)[2]])
    last = one[:-1] + ("A" if one[-1] != "A" else "B")
    for text in ("", "sp-", one[:-1], one + "A", one.upper(), " " + one, mixed, last, "sp-" + "0" * 12 + one[15:]):
        assert store.api_keys.authenticate_secret(text) is None
    assert store.api_keys.authenticate_secret(one) is not None


@given(text=st.text(max_size=80))
def test_authenticating_text_that_is_not_a_secret_does_not_query_the_database(text: str) -> None:
    keys = keys_module.ApiKeyRegistry(
        RegistryDatabase(SqliteBackend(Path("nowhere")))
    )  # which is not asked for what cannot be a key
    assert keys.authenticate_secret(text) is None


def test_a_revoked_key_is_invalid_and_still_listed(store: PromptRegistry) -> None:
    key, text = store.api_keys.create_key("acme")
    gone = store.api_keys.revoke_key(key.id, actor="ada")
    assert gone.revoked_at is not None
    assert not gone.is_valid()
    assert store.api_keys.authenticate_secret(text) is None
    assert list(store.api_keys.iterate_keys()) == [gone]
    assert store.api_keys.revoke_key(text) == gone  # again, by its text: as it was


def test_another_registry_instance_sees_created_and_revoked_keys_immediately(store: PromptRegistry, home: Home) -> None:
    key, text = store.api_keys.create_key()
    with home.open() as other:
        assert other.api_keys.authenticate_secret(text) == key
        store.api_keys.revoke_key(key.id)
        assert other.api_keys.authenticate_secret(text) is None


def test_an_expired_key_is_invalid(store: PromptRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    key, text = store.api_keys.create_key(expires_in=timedelta(days=2))
    assert key.expires_at == key.created_at + timedelta(days=2)
    assert key.is_valid(key.expires_at - timedelta(seconds=1))
    assert not key.is_valid(key.expires_at)
    assert store.api_keys.authenticate_secret(text) == key

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # noqa: ARG003
            return key.expires_at  # type: ignore[return-value]

    monkeypatch.setattr(key_module, "datetime", Later)
    assert store.api_keys.authenticate_secret(text) is None


def test_creating_and_revoking_a_key_is_recorded_in_the_audit_log(store: PromptRegistry) -> None:
    key, text = store.api_keys.create_key("acme", name="the shop", actor="ada")
    store.api_keys.revoke_key(key.id, actor="bob")
    store.api_keys.revoke_key(key.id, actor="bob")
    told = [(event.action, event.actor, event.tenant, event.details) for event in store.list_events("acme")]
    assert told == [
        ("revoke-key", "bob", "acme", {"key": key.id, "scope": "use", "name": "the shop"}),
        ("create-key", "ada", "acme", {"key": key.id, "scope": "use", "name": "the shop"}),
    ]
    assert text.split("-", 2)[2] not in str(store.list_events())


def test_revoking_an_unknown_key_raises_api_key_not_found(store: PromptRegistry) -> None:
    for text in ("", "0" * 12, "sp-000000000000-" + "A" * 43):
        with pytest.raises(ApiKeyNotFound, match="softprompt keys list"):
            store.api_keys.revoke_key(text)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tenant": "Acme Ltd"}, "invalid tenant name"),
        ({"scope": "root"}, "unknown scope 'root': choose one of use, manage, admin"),
        ({"name": "a\nb"}, "invalid key name"),
        ({"name": "a" * 201}, "invalid key name"),
        ({"expires_in": timedelta()}, "must be 1 to"),
        ({"expires_in": timedelta(days=40_000)}, "must be 1 to"),
        ({"actor": " "}, "invalid `actor`"),
    ],
)
def test_invalid_key_settings_are_rejected(store: PromptRegistry, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        store.api_keys.create_key(**wrong)  # type: ignore[arg-type]
    assert list(store.api_keys.iterate_keys()) == []
    assert store.list_events() == []


def test_a_scope_includes_the_scopes_below() -> None:
    allowed = {scope: [other.value for other in ApiKeyScope if scope.includes(other)] for scope in ApiKeyScope}
    assert allowed == {"use": ["use"], "manage": ["use", "manage"], "admin": ["use", "manage", "admin"]}


def test_a_secret_is_compared_in_constant_time(store: PromptRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    key, text = store.api_keys.create_key()
    compared: list[tuple[str, str]] = []

    def watched(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(keys_module.hmac, "compare_digest", watched)
    found: list[ApiKey | None] = [
        store.api_keys.authenticate_secret(text),
        store.api_keys.authenticate_secret(text[:-43] + "A" * 43),
    ]
    found.append(store.api_keys.authenticate_secret("sp-" + "0" * 12 + text[15:]))
    assert found == [key, None, None]
    assert [len(one) == len(other) == 64 for one, other in compared] == [True] * 3


def test_the_keys_table_contains_only_the_hash_of_a_secret(store: PromptRegistry) -> None:
    key, text = store.api_keys.create_key()
    with store._database.read_session() as session:
        [row] = session.connection().exec_driver_sql("SELECT * FROM keys").fetchall()
    assert text not in row
    assert not [column for column in row if isinstance(column, str) and text[16:] in column]
    assert key.id in row


def test_the_query_for_a_page_of_keys_compares_times_without_a_time_zone_on_postgresql() -> None:
    """If the parameter had a time zone, PostgreSQL would interpret the column's times as local times."""
    after = ApiKey("key", "acme", ApiKeyScope.USE, "the shop", datetime.now(UTC), "ada", None, None)
    sql = str(keys_module._select_keys(None, after, 5).compile(dialect=postgresql.dialect()))
    assert "WITH TIME ZONE" not in sql.replace("WITHOUT TIME ZONE", "")
