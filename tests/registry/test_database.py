"""Databases that cannot be opened or written: the error, and that nothing is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from softprompt.errors import DiskFull, OutputExists, SettingError, StoreError, UnsupportedStoreFormat
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from tests.registry.conftest import Home
from tests.registry.factories import check_whole

Prompts = list[SavedPrompt]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A folder: what is harmed here is SQLite's, or lies on the disk."""
    return Home(str(tmp_path / "store"))


def closed(path: Path, saved: Prompts) -> Path:
    """The database of a store with one prompt that nobody has open."""
    with PromptRegistry.open(path, create=True) as store:
        store.register_prompt(saved[0], "reviews")
    return path / "store.sqlite"


def execute(file: Path, statement: str) -> Any:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_without_a_registry_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"no prompt registry in {tmp_path}: .*create one with"):
        PromptRegistry.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_sqlite_registry_uses_a_write_ahead_log(tmp_path: Path, saved: Prompts) -> None:
    assert execute(closed(tmp_path, saved), "PRAGMA journal_mode") == [("wal",)]


def test_a_registry_of_a_newer_schema_is_rejected_unchanged(tmp_path: Path, saved: Prompts) -> None:
    execute(closed(tmp_path, saved), "UPDATE softprompt_store SET schema = 4")
    before = files(tmp_path)
    for create in (False, True):
        with pytest.raises(
            UnsupportedStoreFormat, match="version 4, but this softprompt reads versions up to 3: upgrade softprompt"
        ):
            PromptRegistry.open(tmp_path, create=create)
    assert files(tmp_path) == before


def test_writing_fails_if_another_process_migrated_the_open_registry_to_a_newer_schema(
    store: PromptRegistry, saved: Prompts
) -> None:
    execute(Path(store.location) / "store.sqlite", "UPDATE softprompt_store SET schema = 4")
    with pytest.raises(UnsupportedStoreFormat):
        store.register_prompt(saved[0], "reviews")
    assert store.list_prompts() == []


def test_a_registry_from_before_the_first_release_is_rejected(tmp_path: Path, saved: Prompts) -> None:
    execute(closed(tmp_path, saved), "UPDATE softprompt_store SET schema = 1")
    with pytest.raises(StoreError, match="from before softprompt's first release"):
        PromptRegistry.open(tmp_path)


def test_creating_a_registry_in_a_folder_with_foreign_files_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExists, match="is not a registry and contains thesis.txt"):
        PromptRegistry.open(tmp_path, create=True)
    with pytest.raises(OutputExists, match="is a file"):
        PromptRegistry.open(tmp_path / "thesis.txt", create=True)
    assert files(tmp_path) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("create", [False, True])
def test_another_programs_database_is_rejected(tmp_path: Path, create: bool) -> None:
    execute(tmp_path / "store.sqlite", "CREATE TABLE songs (name TEXT)")
    with pytest.raises(StoreError, match="is the database of another program"):
        PromptRegistry.open(tmp_path, create=create)


def test_opening_an_empty_database_is_rejected_unless_create_is_set(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").touch()
    with pytest.raises(StoreError, match="is empty: .*restore it from a backup"):
        PromptRegistry.open(tmp_path)
    PromptRegistry.open(tmp_path, create=True).close()  # or it was killed while it was made
    PromptRegistry.open(tmp_path).close()


@pytest.mark.parametrize("harm", [lambda b: b"no database" * 500, lambda b: b[:100] + b"\xff" * (len(b) - 100)])
def test_a_corrupt_database_is_rejected(tmp_path: Path, saved: Prompts, harm: Callable[[bytes], bytes]) -> None:
    file = closed(tmp_path, saved)
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(StoreError, match="is damaged .*restore it from a backup"):
        PromptRegistry.open(tmp_path)


def test_verify_integrity_finds_a_corrupt_database_index(tmp_path: Path, saved: Prompts) -> None:
    file = closed(tmp_path, saved)
    [(page, size)] = execute(
        file, "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = 'activations_in_order'"
    )
    content = bytearray(file.read_bytes())
    content[page * size - 30 : page * size] = b"\x00" * 30  # the index's one entry
    file.write_bytes(content)
    with PromptRegistry.open(tmp_path) as store:
        found = store.verify_integrity()
    assert found.database_problem
    assert not found.is_intact


def test_a_writer_that_waits_too_long_gets_an_error(
    store: PromptRegistry, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store.register_prompt(saved[0], "reviews")
    monkeypatch.setattr("softprompt.registry.sqlite_backend.LOCK_TIMEOUT_S", 0)
    with closing(sqlite3.connect(Path(store.location) / "store.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with PromptRegistry.open(store.location) as impatient:
            with pytest.raises(StoreError, match="locked by other writers for .*: try again"):
                impatient.roll_back_alias("reviews")
            assert impatient.resolve_version("reviews") == version  # who reads waits for nobody


def test_registering_on_a_full_disk_raises_and_changes_nothing(store: PromptRegistry, saved: Prompts) -> None:
    store.register_prompt(saved[0], "reviews")
    before = store.list_prompts(), store.list_events()

    def full(connection: Any, _: Any) -> None:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Engine, "connect", full)
    try:
        with (
            PromptRegistry.open(store.location) as on_a_full_disk,
            pytest.raises(DiskFull, match="no space left.*nothing was changed"),
        ):
            on_a_full_disk.register_prompt(saved[1], "reviews", note="x" * 100_000)
    finally:
        event.remove(Engine, "connect", full)
    assert (store.list_prompts(), store.list_events()) == before
    check_whole(store)
    assert store.register_prompt(saved[1], "reviews", note="x" * 100_000).number == 2


def test_writing_to_a_read_only_sqlite_database_is_rejected(tmp_path: Path, saved: Prompts) -> None:
    file = closed(tmp_path, saved)

    def read_only(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA query_only = ON")

    event.listen(Engine, "connect", read_only)
    try:
        with (
            PromptRegistry.open(tmp_path) as store,
            pytest.raises(SettingError, match=f"{file} cannot be opened for writing"),
        ):
            store.deactivate_alias("reviews")
    finally:
        event.remove(Engine, "connect", read_only)
