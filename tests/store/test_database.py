"""Stores that cannot be opened or written, and that nothing comes of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from softprompt.errors import DiskFull, NewerStore, OutputExists, SettingError, StoreError
from softprompt.saved import SavedPrompt
from softprompt.store import Store
from tests.store.conftest import Home
from tests.store.making import check_whole

Prompts = list[SavedPrompt]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A folder: what is harmed here is SQLite's, or lies on the disk."""
    return Home(str(tmp_path / "store"))


def closed(path: Path, saved: Prompts) -> Path:
    """The database of a store with one prompt that nobody has open."""
    with Store.open(path, create=True) as store:
        store.add(saved[0], "reviews")
    return path / "store.sqlite"


def execute(file: Path, statement: str) -> Any:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"no store in {tmp_path}: .*makes one"):
        Store.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_waits_for_its_readers_in_a_log(tmp_path: Path, saved: Prompts) -> None:
    assert execute(closed(tmp_path, saved), "PRAGMA journal_mode") == [("wal",)]


def test_a_newer_store_is_refused_and_not_touched(tmp_path: Path, saved: Prompts) -> None:
    execute(closed(tmp_path, saved), "UPDATE softprompt_store SET schema = 4")
    before = files(tmp_path)
    for create in (False, True):
        with pytest.raises(NewerStore, match="version 4, this softprompt reads up to 3: upgrade softprompt"):
            Store.open(tmp_path, create=create)
    assert files(tmp_path) == before


def test_a_store_that_becomes_newer_meanwhile_is_not_written(store: Store, saved: Prompts) -> None:
    execute(Path(store.place) / "store.sqlite", "UPDATE softprompt_store SET schema = 4")
    with pytest.raises(NewerStore):
        store.add(saved[0], "reviews")
    assert store.prompts() == []


def test_a_store_from_before_the_first_release_is_refused(tmp_path: Path, saved: Prompts) -> None:
    execute(closed(tmp_path, saved), "UPDATE softprompt_store SET schema = 1")
    with pytest.raises(StoreError, match="from before softprompt's first release"):
        Store.open(tmp_path)


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExists, match="is no store and holds thesis.txt"):
        Store.open(tmp_path, create=True)
    with pytest.raises(OutputExists, match="is a file"):
        Store.open(tmp_path / "thesis.txt", create=True)
    assert files(tmp_path) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("create", [False, True])
def test_another_programs_database(tmp_path: Path, create: bool) -> None:
    execute(tmp_path / "store.sqlite", "CREATE TABLE songs (name TEXT)")
    with pytest.raises(StoreError, match="is another program's database"):
        Store.open(tmp_path, create=create)


def test_a_database_that_lost_its_content(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").touch()
    with pytest.raises(StoreError, match="is empty: .*restore it from a copy"):
        Store.open(tmp_path)
    Store.open(tmp_path, create=True).close()  # or it was killed while it was made
    Store.open(tmp_path).close()


@pytest.mark.parametrize("harm", [lambda b: b"no database" * 500, lambda b: b[:100] + b"\xff" * (len(b) - 100)])
def test_a_damaged_database(tmp_path: Path, saved: Prompts, harm: Callable[[bytes], bytes]) -> None:
    file = closed(tmp_path, saved)
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(StoreError, match="is damaged .*restore it from a copy"):
        Store.open(tmp_path)


def test_damage_deep_in_the_database_is_found(tmp_path: Path, saved: Prompts) -> None:
    file = closed(tmp_path, saved)
    [(page, size)] = execute(
        file, "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = 'activations_in_order'"
    )
    content = bytearray(file.read_bytes())
    content[page * size - 30 : page * size] = b"\x00" * 30  # the index's one entry
    file.write_bytes(content)
    with Store.open(tmp_path) as store:
        found = store.verify()
    assert found.database
    assert not found.whole


def test_who_must_wait_too_long_is_told(store: Store, saved: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    version = store.add(saved[0], "reviews")
    monkeypatch.setattr("softprompt.store.sqlite.PATIENCE", 0)
    with closing(sqlite3.connect(Path(store.place) / "store.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with Store.open(store.place) as impatient:
            with pytest.raises(StoreError, match="others have been writing to .*: try again"):
                impatient.roll_back("reviews")
            assert impatient.resolve("reviews") == version  # who reads waits for nobody


def test_a_full_disk_adds_nothing(store: Store, saved: Prompts) -> None:
    store.add(saved[0], "reviews")
    before = store.prompts(), store.history()

    def full(connection: Any, _: Any) -> None:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Engine, "connect", full)
    try:
        with Store.open(store.place) as on_a_full_disk, pytest.raises(DiskFull, match="no space left.*untouched"):
            on_a_full_disk.add(saved[1], "reviews", note="x" * 100_000)
    finally:
        event.remove(Engine, "connect", full)
    assert (store.prompts(), store.history()) == before
    check_whole(store)
    assert store.add(saved[1], "reviews", note="x" * 100_000).number == 2


def test_a_place_that_cannot_be_written(tmp_path: Path, saved: Prompts) -> None:
    file = closed(tmp_path, saved)

    def read_only(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA query_only = ON")

    event.listen(Engine, "connect", read_only)
    try:
        with Store.open(tmp_path) as store, pytest.raises(SettingError, match=f"{file} cannot be opened to write"):
            store.deactivate("reviews")
    finally:
        event.remove(Engine, "connect", read_only)
