"""Registries on PostgreSQL: databases that cannot be opened, locks of writers, broken connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from softprompt.errors import CorruptPrompt, SettingError, StoreError, UnsupportedStoreFormat
from softprompt.registry import PromptRegistry
from softprompt.registry.local_artifact_store import LocalArtifactStore
from softprompt.registry.prompt_mutation import PromptMutation
from softprompt.saved import SavedPrompt
from tests.registry.factories import AT_ONCE, check_whole, stored
from tests.registry.postgres_server import PASSWORD, Postgres

Prompts = list[SavedPrompt]


@pytest.fixture
def url(postgres: Postgres) -> str:
    """A schema with nothing in it."""
    return postgres.schema()


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[PromptRegistry]:
    """An empty one, whose prompts lie in a folder."""
    with PromptRegistry.open(url, create=True, artifact_location=tmp_path / "prompts") as opened:
        yield opened


def tables(postgres: Postgres, url: str) -> list[Any]:
    return postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema", url)


def test_the_database_stores_the_artifact_location(
    store: PromptRegistry, url: str, saved: Prompts, tmp_path: Path
) -> None:
    version = store.register_prompt(saved[0], "reviews")
    assert store.location.startswith("postgresql://softprompt@")
    for create in (False, True):
        with PromptRegistry.open(url, create=create) as again:
            assert again.artifact_location == str(tmp_path / "prompts")
            assert again.load_prompt(version).files == saved[0].files
    with pytest.raises(SettingError, match=f"the artifact location of .* is {tmp_path}/prompts and cannot be changed"):
        PromptRegistry.open(url, artifact_location=tmp_path / "elsewhere")


def test_a_database_without_a_registry_is_rejected(postgres: Postgres, url: str) -> None:
    with pytest.raises(
        StoreError, match="no prompt registry in postgresql://.*`softprompt prompts add --artifact-location URL`"
    ):
        PromptRegistry.open(url)
    with pytest.raises(
        SettingError,
        match="a registry at .* needs a location for its artifacts: set `artifact_location` to s3://bucket/prefix",
    ):
        PromptRegistry.open(url, create=True)
    assert tables(postgres, url) == []


def test_an_invalid_artifact_location_creates_no_tables(postgres: Postgres, url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((SettingError, OSError)):
        PromptRegistry.open(url, create=True, artifact_location=tmp_path / "file" / "below")
    with pytest.raises(SettingError, match="Protocol not known"):
        PromptRegistry.open(url, create=True, artifact_location="s4://bucket/prefix")
    assert tables(postgres, url) == []


def test_foreign_tables_in_a_database_are_left_unchanged(postgres: Postgres, url: str, tmp_path: Path) -> None:
    postgres.execute("CREATE TABLE songs (name TEXT)", url)
    for create in (False, True):
        with pytest.raises(
            StoreError, match="contains other tables: use a separate database for the registry, or a schema"
        ):
            PromptRegistry.open(url, create=create, artifact_location=tmp_path)
    assert tables(postgres, url) == [("songs",)]


def test_a_registry_of_a_newer_schema_is_rejected_unchanged(
    postgres: Postgres, store: PromptRegistry, url: str, saved: Prompts
) -> None:
    postgres.execute("UPDATE softprompt_store SET schema = 4", url)
    with pytest.raises(UnsupportedStoreFormat, match="version 4, but this softprompt reads versions up to 3"):
        store.register_prompt(saved[0], "reviews")
    postgres.execute("ALTER TABLE softprompt_store DROP COLUMN prompts", url)
    for create in (False, True):
        with pytest.raises(UnsupportedStoreFormat, match="upgrade softprompt"):
            PromptRegistry.open(url, create=create)
    assert store.list_prompts() == []


def test_a_database_in_another_encoding_is_rejected(postgres: Postgres, tmp_path: Path) -> None:
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreError, match="has the encoding LATIN1: create a database with ENCODING 'UTF8'"):
        PromptRegistry.open(postgres.url("latin"), create=True, artifact_location=tmp_path)


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
def test_connection_errors_name_the_cause_without_the_password(
    postgres: Postgres, there: Callable[[Postgres], str], said: str
) -> None:
    for create in (False, True):
        with pytest.raises(
            StoreError, match=rf"^cannot connect to postgresql://.* \(.*{said}.*: check the server"
        ) as caught:
            PromptRegistry.open(there(postgres), create=create, artifact_location="/tmp")
        assert "geheim" not in str(caught.value)


def test_a_registry_opened_with_a_password_does_not_show_the_password(
    postgres: Postgres, store: PromptRegistry, url: str
) -> None:
    with PromptRegistry.open(f"{postgres.tcp()}?options={url.partition('options=')[2]}") as again:
        assert again.list_prompts() == []
        assert PASSWORD not in again.location


def test_a_database_user_without_permission_is_rejected(
    postgres: Postgres, store: PromptRegistry, url: str, saved: Prompts, tmp_path: Path
) -> None:
    schema = url.rpartition("%3D")[2]
    postgres.execute(f"CREATE USER {schema}; GRANT USAGE ON SCHEMA {schema} TO {schema}")
    theirs = url.replace("softprompt@", f"{schema}@")
    with pytest.raises(StoreError, match="denied permission .permission denied .*: have its owner grant it"):
        PromptRegistry.open(theirs)
    postgres.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}")
    with PromptRegistry.open(theirs) as reader:
        assert reader.list_prompts() == []
        with pytest.raises(StoreError, match="denied permission"):
            reader.register_prompt(saved[0], "reviews")


def test_writing_to_a_read_only_database_is_rejected(store: PromptRegistry) -> None:
    def write() -> None:
        with store._database.write_session() as session:
            session.connection().exec_driver_sql("SET TRANSACTION READ ONLY")
            session.connection().exec_driver_sql("DELETE FROM keys")

    with pytest.raises(StoreError, match="is read-only: set `location` to the server that accepts writes"):
        write()


def test_a_writer_that_waits_too_long_gets_an_error(
    store: PromptRegistry, url: str, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store.register_prompt(saved[0], "reviews")
    with store._database.write_session():
        monkeypatch.setattr("softprompt.registry.postgres_backend.LOCK_TIMEOUT_S", 0.05)
        with PromptRegistry.open(url) as impatient:
            with pytest.raises(StoreError, match="postgresql://.* has been locked by other writers .*: try again"):
                impatient.roll_back_alias("reviews")
            assert impatient.resolve_version("reviews") == version  # who reads waits for nobody


def test_threads_that_create_a_registry_simultaneously_share_one(url: str, saved: Prompts, tmp_path: Path) -> None:
    def make(_: int) -> str:
        with PromptRegistry.open(url, create=True, artifact_location=tmp_path) as store:
            store.register_prompt(saved[0], "reviews")
            return store.artifact_location

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(make, range(4))) == {str(tmp_path)}
    with PromptRegistry.open(url) as store:
        [prompt] = store.list_prompts()
        assert [version.number for version in prompt.versions] == [1, 2, 3, 4]


def break_connections(postgres: Postgres) -> None:
    """As a network does, or a server that is restarted."""
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'softprompt'")


def test_a_broken_connection_is_replaced(postgres: Postgres, store: PromptRegistry, saved: Prompts) -> None:
    version = store.register_prompt(saved[0], "reviews")
    break_connections(postgres)
    assert store.resolve_version("reviews") == version
    break_connections(postgres)
    assert store.register_prompt(saved[1], "reviews").number == 2


def test_a_connection_that_breaks_during_a_transaction_changes_nothing(
    postgres: Postgres, store: PromptRegistry, saved: Prompts
) -> None:
    store.register_prompt(saved[0], "reviews")
    before = store.list_prompts(), store.list_events()

    def change() -> None:
        with PromptMutation.begin(store._database, "default", "reviews", None) as change:
            change.deactivate_alias("active")
            change.session.flush()
            break_connections(postgres)

    def read() -> None:
        with store._database.read_session() as session:
            session.connection()
            break_connections(postgres)
            session.connection().exec_driver_sql("SELECT 1")

    for use in (change, read):
        with pytest.raises(StoreError, match="the connection to postgresql://.* broke .*: try again; .* history"):
            use()
    assert (store.list_prompts(), store.list_events()) == before
    check_whole(store)


def test_a_broken_connection_restores_collected_artifacts(
    postgres: Postgres, store: PromptRegistry, url: str, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector loses its lock with its connection, and another process registers the artifact it would delete."""
    store.register_prompt(saved[0], "old", activate=False)
    store.remove_versions("old")
    hide, added = LocalArtifactStore.trash_artifact, []

    def hidden_too_late(folders: LocalArtifactStore, content: str) -> str:
        break_connections(postgres)
        with PromptRegistry.open(url) as other:
            added.append(other.register_prompt(saved[0], "reviews"))
        return hide(folders, content)

    monkeypatch.setattr(LocalArtifactStore, "trash_artifact", hidden_too_late)
    with pytest.raises(StoreError, match="broke"):
        store.collect_garbage(AT_ONCE)
    assert store.load_prompt(added[0]).files == saved[0].files
    assert stored(store) == [added[0].digest]
    check_whole(store)


def test_nul_characters_are_rejected_and_other_unicode_is_stored_unchanged(
    store: PromptRegistry, saved: Prompts
) -> None:
    for ask in (store.list_prompts, store.list_events, lambda tenant: list(store.api_keys.iterate_keys(tenant))):
        with pytest.raises(SettingError, match="cannot store this text"):
            ask("a\0")
    strange = saved[0].manifest.model_copy(update={"method": {"name": "a\0"}}).with_content_hash()
    prompt = SavedPrompt(strange, saved[0].payload, None, saved[0].files)
    with pytest.raises(CorruptPrompt, match="which databases cannot store"):
        store.register_prompt(prompt, "reviews")
    note = "größer 好 🙂 'quoted' \\ %s :turn"
    assert store.register_prompt(saved[0], "reviews", note=note).note == store.resolve_version("reviews").note == note


def test_a_missing_table_is_reported_as_a_corrupt_database(postgres: Postgres, store: PromptRegistry, url: str) -> None:
    postgres.execute("DROP TABLE events", url)
    with pytest.raises(StoreError, match="is damaged .*restore it from a backup"):
        store.list_events()


@contextmanager
def stopped(postgres: Postgres) -> Iterator[None]:
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


def test_a_registry_works_again_after_the_server_restarts(
    postgres: Postgres, store: PromptRegistry, saved: Prompts
) -> None:
    version = store.register_prompt(saved[0], "reviews")
    with stopped(postgres):
        for use in (lambda: store.resolve_version("reviews"), lambda: store.activate_version("reviews@1")):
            with pytest.raises(StoreError, match="cannot connect to"):
                use()
    assert store.resolve_version("reviews") == version
    with psycopg.connect(postgres.url()) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("off",)
