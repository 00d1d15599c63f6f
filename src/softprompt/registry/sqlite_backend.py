"""SQLite backend: the database is a file in the registry's folder. Only this module depends on SQLite."""

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
    summarize_error,
    translate_os_errors,
)
from softprompt.registry.database_backend import LOCK_TIMEOUT_S, DatabaseBackend, make_busy_error

DATABASE_FILE, ARTIFACTS_FOLDER = "store.sqlite", "prompts"


class SqliteBackend(DatabaseBackend):
    """A SQLite database in a registry's folder.

    Args:
        folder: folder of the registry.
    """

    def __init__(self, folder: Path):
        self.folder, self.database_file = folder, folder / DATABASE_FILE
        self.display_name, self.default_artifact_path = str(folder), folder / ARTIFACTS_FOLDER
        self.read_engine = create_engine(
            URL.create("sqlite", database=str(self.database_file)),
            connect_args={"timeout": LOCK_TIMEOUT_S},
            pool_timeout=LOCK_TIMEOUT_S,
        )
        event.listen(self.read_engine, "connect", _configure_connection)
        event.listen(self.read_engine, "begin", _begin_transaction)
        self.write_engine = self.read_engine.execution_options(writes=True)
        self.empty_message = (
            f"{self.database_file} is empty: the registry was never created, or its file was lost; restore it from a "
            "backup"
        )
        self.foreign_message = (
            f"{self.database_file} is the database of another program: choose another folder for the registry"
        )

    def check_exists(self) -> None:
        """Check that the file exists."""
        if not self.database_file.is_file():
            raise StoreError(
                f"no prompt registry in {self.folder}: create one with `softprompt prompts add`, or set `location` to "
                "another one"
            )

    @contextmanager
    def creation_lock(self) -> Iterator[None]:
        """Create the folder and lock it: SQLite does not wait when several processes change the journal mode."""
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise OutputExists(f"{folder} is a file: choose another `location` for the registry")
        with translate_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            others = [path for path in folder.iterdir() if not path.name.startswith(DATABASE_FILE)]
            if others and not self.database_file.exists():
                raise OutputExists(
                    f"{folder} is not a registry and contains {others[0].name}: choose another `location` for the "
                    "registry"
                )
            with FileLock(f"{self.database_file}.lock"):
                yield

    def prepare_database(self) -> None:
        """Enable write-ahead logging, so that readers never wait for writers."""
        with closing(self.read_engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA journal_mode = WAL")

    def find_corruption(self, connection: Connection) -> str | None:
        """Run SQLite's integrity check."""
        result = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
        return None if result == "ok" else str(result)

    def translate_error(self, error: exc.DBAPIError) -> SoftPromptError | None:
        """Translate an error by SQLite's error code."""
        file, message = self.database_file, summarize_error(error.orig or error)
        match getattr(error.orig, "sqlite_errorcode", 0) & 0xFF:  # the primary code
            case sqlite3.SQLITE_FULL:
                return DiskFull(f"no space left for {file}: free some and run again; nothing was changed")
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return make_busy_error(self.display_name)
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                return SettingError(f"{file} cannot be opened for writing ({message}): check its permissions")
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return StoreError(f"{file} is damaged ({message}): restore it from a backup")
            case sqlite3.SQLITE_IOERR:
                return StoreError(f"{file} cannot be read or written ({message}): check the disk")
        return None


def _configure_connection(connection: sqlite3.Connection, _record: Any) -> None:
    """Configure a new connection."""
    connection.isolation_level = None  # or Python's module would begin transactions by its own rules
    connection.execute("PRAGMA foreign_keys = ON")
    # A confirmed change must survive a power failure; writes are few.
    connection.execute("PRAGMA synchronous = FULL")


def _begin_transaction(connection: Connection) -> None:
    """Begin a transaction. A write transaction takes the lock at once, so that nothing it reads can become stale."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
