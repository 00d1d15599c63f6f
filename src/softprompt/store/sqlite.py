"""A store's database as a file in its folder: SQLite. What is SQLite's alone is in here, and nowhere else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import URL, Connection, create_engine, event, exc

from softprompt.errors import (
    DiskFull,
    OutputExists,
    SettingError,
    SoftPromptError,
    StoreError,
    disk_errors,
    first_line,
)
from softprompt.store.backend import PATIENCE, Backend, busy

DATABASE, FOLDERS = "store.sqlite", "prompts"


class Sqlite(Backend):
    """A folder's database.

    Args:
        folder: the store's.
    """

    def __init__(self, folder: Path):
        self.folder, self.file = folder, folder / DATABASE
        self.name, self.beside = str(folder), folder / FOLDERS
        self.readers = create_engine(
            URL.create("sqlite", database=str(self.file)), connect_args={"timeout": PATIENCE}, pool_timeout=PATIENCE
        )
        event.listen(self.readers, "connect", _set_up)
        event.listen(self.readers, "begin", _begin)
        self.writers = self.readers.execution_options(writes=True)
        self.empty = f"{self.file} is empty: the store was never made, or its file was lost; restore it from a copy"
        self.foreign = f"{self.file} is another program's database: choose another folder for the store"

    def look(self) -> None:
        """See that the file is there."""
        if not self.file.is_file():
            raise StoreError(f"no store in {self.folder}: `softprompt prompts add` makes one, `place` names another")

    @contextmanager
    def making(self) -> Iterator[None]:
        """Make the folder. One process at a time, since SQLite waits for none to change a mode."""
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise OutputExists(f"{folder} is a file: choose another `place` for the store")
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            others = [path for path in folder.iterdir() if not path.name.startswith(DATABASE)]
            if others and not self.file.exists():
                raise OutputExists(
                    f"{folder} is no store and holds {others[0].name}: choose another `place` for the store"
                )
            with FileLock(f"{self.file}.lock"):
                yield

    def prepare(self) -> None:
        """Let readers wait for nobody."""
        with closing(self.readers.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA journal_mode = WAL")

    def problem(self, connection: Connection) -> str | None:
        """What SQLite finds wrong with its own file."""
        said = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
        return None if said == "ok" else str(said)

    def meaning(self, error: exc.DBAPIError) -> SoftPromptError | None:
        """What an error means, by SQLite's own number for it."""
        file, said = self.file, first_line(error.orig or error)
        match getattr(error.orig, "sqlite_errorcode", 0) & 0xFF:  # without its details
            case sqlite3.SQLITE_FULL:
                return DiskFull(f"no space left for {file}: free some and run again; what was there is untouched")
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return busy(self.name)
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                return SettingError(f"{file} cannot be opened to write ({said}): see to its rights")
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return StoreError(f"{file} is damaged ({said}): restore it from a copy")
            case sqlite3.SQLITE_IOERR:
                return StoreError(f"{file} cannot be read or written ({said}): see to the disk")
        return None


def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
    """Make a connection as it must be."""
    connection.isolation_level = None  # or Python's module would begin transactions by its own rules
    connection.execute("PRAGMA foreign_keys = ON")
    # What somebody was told is done must outlive a power failure, and writes are few.
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    """Begin a transaction; one that writes waits for its turn now, not when what it has read may be out of date."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
