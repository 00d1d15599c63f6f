"""What is PostgreSQL's alone: stores that cannot be opened or made, turns to write, connections that break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from softprompt.errors import DamagedPrompt, NewerStore, SettingError, StoreError
from softprompt.saved import SavedPrompt
from softprompt.store import Store
from softprompt.store.local_folders import LocalFolders
from tests.store.making import AT_ONCE, check_whole, stored
from tests.store.postgres import PASSWORD, Postgres

Prompts = list[SavedPrompt]


@pytest.fixture
def url(postgres: Postgres) -> str:
    """A schema with nothing in it."""
    return postgres.schema()


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    """An empty one, whose prompts lie in a folder."""
    with Store.open(url, create=True, prompts=tmp_path / "prompts") as opened:
        yield opened


def tables(postgres: Postgres, url: str) -> list[Any]:
    return postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema", url)


def test_it_remembers_where_its_prompts_lie(store: Store, url: str, saved: Prompts, tmp_path: Path) -> None:
    version = store.add(saved[0], "reviews")
    assert store.place.startswith("postgresql://softprompt@")
    for create in (False, True):
        with Store.open(url, create=create) as again:
            assert again.prompts_at == str(tmp_path / "prompts")
            assert again.read(version).files == saved[0].files
    with pytest.raises(SettingError, match=f"the prompts of .* lie at {tmp_path}/prompts, for good"):
        Store.open(url, prompts=tmp_path / "elsewhere")


def test_no_store(postgres: Postgres, url: str) -> None:
    with pytest.raises(StoreError, match="no store in postgresql://.*`softprompt prompts add --prompts-at URL` makes"):
        Store.open(url)
    with pytest.raises(
        SettingError, match="where shall the prompts of .* lie[?] Name the place with `prompts`: s3://bucket/prefix"
    ):
        Store.open(url, create=True)
    assert tables(postgres, url) == []


def test_a_place_that_is_no_good_makes_no_store(postgres: Postgres, url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((SettingError, OSError)):
        Store.open(url, create=True, prompts=tmp_path / "file" / "below")
    with pytest.raises(SettingError, match="Protocol not known"):
        Store.open(url, create=True, prompts="s4://bucket/prefix")
    assert tables(postgres, url) == []


def test_what_others_have_in_a_database_is_left_alone(postgres: Postgres, url: str, tmp_path: Path) -> None:
    postgres.execute("CREATE TABLE songs (name TEXT)", url)
    for create in (False, True):
        with pytest.raises(StoreError, match="holds other tables: give the store a database of its own, or a schema"):
            Store.open(url, create=create, prompts=tmp_path)
    assert tables(postgres, url) == [("songs",)]


def test_a_newer_store_is_refused_and_not_touched(postgres: Postgres, store: Store, url: str, saved: Prompts) -> None:
    postgres.execute("UPDATE softprompt_store SET schema = 4", url)
    with pytest.raises(NewerStore, match="version 4, this softprompt reads up to 3"):
        store.add(saved[0], "reviews")
    postgres.execute("ALTER TABLE softprompt_store DROP COLUMN prompts", url)
    for create in (False, True):
        with pytest.raises(NewerStore, match="upgrade softprompt"):
            Store.open(url, create=create)
    assert store.prompts() == []


def test_a_database_in_another_encoding(postgres: Postgres, tmp_path: Path) -> None:
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreError, match="is in LATIN1: make one with CREATE DATABASE … ENCODING 'UTF8'"):
        Store.open(postgres.url("latin"), create=True, prompts=tmp_path)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (lambda postgres: postgres.tcp("geheim"), "password authentication failed"),
        (lambda postgres: postgres.tcp(database="nothing"), '"nothing" does not exist'),
        (lambda postgres: postgres.url("nothing"), '"nothing" does not exist'),
        (lambda _: f"postgresql://softprompt:{'geheim'}@127.0.0.1:9/prompts", "refused"),
        (lambda _: "postgresql://softprompt:geheim@nowhere.invalid/prompts", "nowhere.invalid"),
        (lambda _: "postgresql://localhost/prompts?nothing=1&password=geheim", "nothing"),
    ],
)
def test_a_database_that_cannot_be_opened(postgres: Postgres, there: Callable[[Postgres], str], said: str) -> None:
    for create in (False, True):
        with pytest.raises(StoreError, match=rf"^postgresql://.* cannot be opened \(.*{said}.*: see that") as caught:
            Store.open(there(postgres), create=create, prompts="/tmp")
        assert "geheim" not in str(caught.value)


def test_a_password_opens_it_and_is_shown_nowhere(postgres: Postgres, store: Store, url: str) -> None:
    with Store.open(f"{postgres.tcp()}?options={url.partition('options=')[2]}") as again:
        assert again.prompts() == []
        assert PASSWORD not in again.place


def test_a_user_who_may_not(postgres: Postgres, store: Store, url: str, saved: Prompts, tmp_path: Path) -> None:
    schema = url.rpartition("%3D")[2]
    postgres.execute(f"CREATE USER {schema}; GRANT USAGE ON SCHEMA {schema} TO {schema}")
    theirs = url.replace("softprompt@", f"{schema}@")
    with pytest.raises(StoreError, match="does not allow it .permission denied .*: have its owner grant it"):
        Store.open(theirs)
    postgres.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}")
    with Store.open(theirs) as reader:
        assert reader.prompts() == []
        with pytest.raises(StoreError, match="does not allow it"):
            reader.add(saved[0], "reviews")


def test_a_database_for_reading_only(store: Store) -> None:
    def write() -> None:
        with store._database.writing() as session:
            session.connection().exec_driver_sql("SET TRANSACTION READ ONLY")
            session.connection().exec_driver_sql("DELETE FROM keys")

    with pytest.raises(StoreError, match="is for reading only: name the server that takes changes as `place`"):
        write()


def test_who_must_wait_too_long_is_told(
    store: Store, url: str, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store.add(saved[0], "reviews")
    with store._database.writing():
        monkeypatch.setattr("softprompt.store.postgres.PATIENCE", 0.05)
        with Store.open(url) as impatient:
            with pytest.raises(StoreError, match="others have been writing to postgresql://.*: try again"):
                impatient.roll_back("reviews")
            assert impatient.resolve("reviews") == version  # who reads waits for nobody


def test_stores_that_are_made_at_once_are_one(url: str, saved: Prompts, tmp_path: Path) -> None:
    def make(_: int) -> str:
        with Store.open(url, create=True, prompts=tmp_path) as store:
            store.add(saved[0], "reviews")
            return store.prompts_at

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(make, range(4))) == {str(tmp_path)}
    with Store.open(url) as store:
        [prompt] = store.prompts()
        assert [version.number for version in prompt.versions] == [1, 2, 3, 4]


def break_connections(postgres: Postgres) -> None:
    """As a network does, or a server that is restarted."""
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'softprompt'")


def test_a_connection_that_broke_is_made_anew(postgres: Postgres, store: Store, saved: Prompts) -> None:
    version = store.add(saved[0], "reviews")
    break_connections(postgres)
    assert store.resolve("reviews") == version
    break_connections(postgres)
    assert store.add(saved[1], "reviews").number == 2


def test_a_connection_that_breaks_in_a_change(postgres: Postgres, store: Store, saved: Prompts) -> None:
    store.add(saved[0], "reviews")
    before = store.prompts(), store.history()

    def change() -> None:
        with store._changing("default", "reviews", None) as change:
            change.deactivate("active")
            change.session.flush()
            break_connections(postgres)

    def read() -> None:
        with store._database.reading() as session:
            session.connection()
            break_connections(postgres)
            session.connection().exec_driver_sql("SELECT 1")

    for use in (change, read):
        with pytest.raises(StoreError, match="the connection to postgresql://.* broke .*: try again; .* history"):
            use()
    assert (store.prompts(), store.history()) == before
    check_whole(store)


def test_what_is_collected_while_the_connection_breaks_comes_back(
    postgres: Postgres, store: Store, url: str, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turn to write is over before it is done, and another one adds what it was about to delete."""
    store.add(saved[0], "old", activate=False)
    store.remove("old")
    hide, added = LocalFolders.hide, []

    def hidden_too_late(folders: LocalFolders, content: str) -> str:
        break_connections(postgres)
        with Store.open(url) as other:
            added.append(other.add(saved[0], "reviews"))
        return hide(folders, content)

    monkeypatch.setattr(LocalFolders, "hide", hidden_too_late)
    with pytest.raises(StoreError, match="broke"):
        store.collect(AT_ONCE)
    assert store.read(added[0]).files == saved[0].files
    assert stored(store) == [added[0].content]
    check_whole(store)


def test_words_that_it_cannot_keep(store: Store, saved: Prompts) -> None:
    for ask in (store.prompts, store.history, store.keys.list):
        with pytest.raises(SettingError, match="keeps no such text"):
            ask("a\0")
    strange = saved[0].manifest.model_copy(update={"method": {"name": "a\0"}}).sealed()
    prompt = SavedPrompt(strange, saved[0].payload, None, saved[0].files)
    with pytest.raises(DamagedPrompt, match="no database keeps a NUL"):
        store.add(prompt, "reviews")
    note = "größer 好 🙂 'quoted' \\ %s :turn"
    assert store.add(saved[0], "reviews", note=note).note == store.resolve("reviews").note == note


def test_a_table_that_is_gone_is_damage(postgres: Postgres, store: Store, url: str) -> None:
    postgres.execute("DROP TABLE events", url)
    with pytest.raises(StoreError, match="is damaged .*restore it from a copy"):
        store.history()


@contextmanager
def stopped(postgres: Postgres) -> Iterator[None]:
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


def test_a_server_that_goes_and_comes_back(postgres: Postgres, store: Store, saved: Prompts) -> None:
    version = store.add(saved[0], "reviews")
    with stopped(postgres):
        for use in (lambda: store.resolve("reviews"), lambda: store.activate("reviews@1")):
            with pytest.raises(StoreError, match="cannot be opened"):
                use()
    assert store.resolve("reviews") == version
    with psycopg.connect(postgres.url()) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("off",)
