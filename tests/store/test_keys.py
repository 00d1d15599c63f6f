"""Keys: made, found, revoked, expired; and never kept."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from softprompt.errors import SettingError, UnknownKey
from softprompt.store import Key, Scope, Store
from softprompt.store import key as key_module
from softprompt.store import keys as keys_module
from softprompt.store.database import Database
from softprompt.store.sqlite import Sqlite
from tests.store.conftest import Home


def test_what_is_made_is_found(store: Store, home: Home) -> None:
    before = datetime.now(UTC)
    key, text = store.keys.create("acme", Scope.MANAGE, name="the shop", by="ada")
    assert (key.tenant, key.scope, key.name, key.created_by) == ("acme", "manage", "the shop", "ada")
    assert key.expires_at is None
    assert key.revoked_at is None
    assert before <= key.created_at <= datetime.now(UTC)
    assert store.keys.find(text) == key
    assert store.keys.list() == store.keys.list("acme") == [key]
    assert store.keys.list("bolt") == []
    with home.open() as again:
        assert again.keys.find(text) == key


def test_a_key_is_random_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    texts = [store.keys.create()[1] for _ in range(3)]
    assert len(set(texts)) == 3
    for text in texts:
        assert re.fullmatch(r"sp-[0-9a-f]{12}-[\w-]{43}", text)
    store.close()
    secrets = [text.split("-", 2)[2] for text in texts]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("store.sqlite*"))
    assert len(kept) > 1000
    assert not [secret for secret in secrets if secret.encode() in kept]


def test_another_secret_is_no_key(store: Store) -> None:
    one, other = (store.keys.create()[1] for _ in range(2))
    mixed = "-".join([*one.split("-", 2)[:2], other.split("-", 2)[2]])
    last = one[:-1] + ("A" if one[-1] != "A" else "B")
    for text in ("", "sp-", one[:-1], one + "A", one.upper(), " " + one, mixed, last, "sp-" + "0" * 12 + one[15:]):
        assert store.keys.find(text) is None
    assert store.keys.find(one) is not None


@given(text=st.text(max_size=80))
def test_any_text_is_looked_up(text: str) -> None:
    keys = keys_module.Keys(Database(Sqlite(Path("nowhere"))))  # which is not asked for what cannot be a key
    assert keys.find(text) is None


def test_a_revoked_key_is_none_and_stays_in_the_list(store: Store) -> None:
    key, text = store.keys.create("acme")
    gone = store.keys.revoke(key.id, by="ada")
    assert gone.revoked_at is not None
    assert not gone.is_valid()
    assert store.keys.find(text) is None
    assert store.keys.list() == [gone]
    assert store.keys.revoke(text) == gone  # again, by its text: as it was


def test_another_process_sees_it_at_once(store: Store, home: Home) -> None:
    key, text = store.keys.create()
    with home.open() as other:
        assert other.keys.find(text) == key
        store.keys.revoke(key.id)
        assert other.keys.find(text) is None


def test_an_expired_key_is_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key, text = store.keys.create(expires_in=timedelta(days=2))
    assert key.expires_at == key.created_at + timedelta(days=2)
    assert key.is_valid(key.expires_at - timedelta(seconds=1))
    assert not key.is_valid(key.expires_at)
    assert store.keys.find(text) == key

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # noqa: ARG003
            return key.expires_at  # type: ignore[return-value]

    monkeypatch.setattr(key_module, "datetime", Later)
    assert store.keys.find(text) is None


def test_the_history_tells_of_keys(store: Store) -> None:
    key, text = store.keys.create("acme", name="the shop", by="ada")
    store.keys.revoke(key.id, by="bob")
    store.keys.revoke(key.id, by="bob")
    told = [(event.what, event.by, event.tenant, event.details) for event in store.history("acme")]
    assert told == [
        ("revoke-key", "bob", "acme", {"key": key.id, "scope": "use", "name": "the shop"}),
        ("create-key", "ada", "acme", {"key": key.id, "scope": "use", "name": "the shop"}),
    ]
    assert text.split("-", 2)[2] not in str(store.history())


def test_what_is_no_key_is_not_revoked(store: Store) -> None:
    for text in ("", "0" * 12, "sp-000000000000-" + "A" * 43):
        with pytest.raises(UnknownKey, match="softprompt keys list"):
            store.keys.revoke(text)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tenant": "Acme Ltd"}, "no name for a tenant"),
        ({"scope": "root"}, "'root' is no scope: choose use, manage, admin"),
        ({"name": "a\nb"}, "does not name a key"),
        ({"name": "a" * 201}, "does not name a key"),
        ({"expires_in": timedelta()}, "valid for 1 to"),
        ({"expires_in": timedelta(days=40_000)}, "valid for 1 to"),
        ({"by": " "}, "does not say who"),
    ],
)
def test_what_cannot_be(store: Store, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        store.keys.create(**wrong)  # type: ignore[arg-type]
    assert store.keys.list() == []
    assert store.history() == []


def test_a_scope_includes_those_below() -> None:
    allowed = {scope: [other.value for other in Scope if scope.includes(other)] for scope in Scope}
    assert allowed == {"use": ["use"], "manage": ["use", "manage"], "admin": ["use", "manage", "admin"]}


def test_a_secret_is_compared_in_constant_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key, text = store.keys.create()
    compared: list[tuple[str, str]] = []

    def watched(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(keys_module.hmac, "compare_digest", watched)
    found: list[Key | None] = [store.keys.find(text), store.keys.find(text[:-43] + "A" * 43)]
    found.append(store.keys.find("sp-" + "0" * 12 + text[15:]))
    assert found == [key, None, None]
    assert [len(one) == len(other) == 64 for one, other in compared] == [True] * 3


def test_only_the_hash_is_in_the_table(store: Store) -> None:
    key, text = store.keys.create()
    with store._database.reading() as session:
        [row] = session.connection().exec_driver_sql("SELECT * FROM keys").fetchall()
    assert text not in row
    assert not [column for column in row if isinstance(column, str) and text[16:] in column]
    assert key.id in row


def test_a_page_of_keys_begins_at_the_stored_time_whatever_the_zone_of_a_postgresql_session() -> None:
    """Where the parameter had a time zone of its own, PostgreSQL would take the column's times as local ones."""
    after = Key("key", "acme", Scope.USE, "the shop", datetime.now(UTC), "ada", None, None)
    sql = str(keys_module._list_keys(None, after, 5).compile(dialect=postgresql.dialect()))
    assert "WITH TIME ZONE" not in sql.replace("WITHOUT TIME ZONE", "")
