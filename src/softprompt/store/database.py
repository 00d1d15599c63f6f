"""The store's database: one SQLite file, opened, made and refused; short transactions to read in and to write in.

It knows nothing of prompts. What is SQLite's alone is in here, and nowhere else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import URL, Connection, create_engine, event, exc, inspect, select
from sqlalchemy.orm import Session

from softprompt.errors import DiskFull, NewerStore, SettingError, SoftPromptError, StoreError, first_line
from softprompt.store.tables import SCHEMA, StoreRow, Table

PATIENCE = 60.0  # seconds to wait for another process that writes


class Database:
    """A database that is there. Threads may share it; a process that was forked opens its own.

    Args:
        file: where it is.
    """

    def __init__(self, file: Path):
        self.file = file
        self._engine = create_engine(
            URL.create("sqlite", database=str(file)), connect_args={"timeout": PATIENCE}, pool_timeout=PATIENCE
        )
        event.listen(self._engine, "connect", _set_up)
        event.listen(self._engine, "begin", _begin)
        self._writers_engine = self._engine.execution_options(writes=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state of the database, whatever others write meanwhile.

        Raises:
            StoreError: the database is damaged or cannot be reached.
        """
        with _explained(self.file), Session(self._engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that writes, and no other beside it; it is written when all of it went well.

        Raises:
            DiskFull: nothing was written.
            NewerStore: a later softprompt has changed the store meanwhile.
            StoreError: the database is damaged, or others wrote for too long.
        """
        with _explained(self.file), Session(self._writers_engine) as session, session.begin():
            _check(session.scalar(select(StoreRow.schema).with_for_update()), self.file)
            yield session

    def open(self) -> None:
        """See that it is one of ours.

        Raises:
            NewerStore: it was made by a later softprompt; nothing was touched.
            StoreError: it is another program's, or damaged.
        """
        _check(self._schema(), self.file)

    def create(self) -> None:
        """Make the tables, unless they are there. One process at a time, since SQLite waits for none to change a mode.

        Raises:
            DiskFull, SettingError: the place cannot be written.
        """
        with FileLock(f"{self.file}.lock"):
            if self._schema() is not None:
                return
            with _explained(self.file):
                with closing(self._engine.raw_connection()) as connection:
                    connection.cursor().execute("PRAGMA journal_mode = WAL")
                with Session(self._writers_engine) as session, session.begin():
                    Table.metadata.create_all(session.connection())
                    session.add(StoreRow(id=1, schema=SCHEMA))

    def problem(self) -> str | None:
        """What SQLite finds wrong with its own file, or None."""
        with self.reading() as session:
            said = session.connection().exec_driver_sql("PRAGMA integrity_check").scalar()
        return None if said == "ok" else str(said)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def _schema(self) -> int | None:
        """The version of the schema; None where the database has nothing in it."""
        with self.reading() as session:
            tables = inspect(session.connection()).get_table_names()
            if tables and StoreRow.__tablename__ not in tables:
                raise StoreError(f"{self.file} is another program's database: choose another folder for the store")
            return session.scalar(select(StoreRow.schema)) if tables else None


def _check(schema: int | None, file: Path) -> None:
    if schema is None:
        raise StoreError(f"{file} is empty: the store was never made, or its file was lost; restore it from a copy")
    if schema > SCHEMA:
        raise NewerStore(
            f"the store {file.parent} has version {schema}, this softprompt reads up to {SCHEMA}: upgrade softprompt"
        )


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


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn the database's errors into those that say what to do."""
    try:
        yield
    except exc.TimeoutError as error:
        raise _busy(file) from error
    except exc.DatabaseError as error:
        if (known := _meaning(error, file)) is None:
            raise
        raise known from error


def _meaning(error: exc.DatabaseError, file: Path) -> SoftPromptError | None:
    said = first_line(error.orig or error)
    match getattr(error.orig, "sqlite_errorcode", 0) & 0xFF:  # without its details
        case sqlite3.SQLITE_FULL:
            return DiskFull(f"no space left for {file}: free some and run again; what was there is untouched")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return _busy(file)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return SettingError(f"{file} cannot be opened to write ({said}): see to its rights")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreError(f"{file} is damaged ({said}): restore it from a copy")
        case sqlite3.SQLITE_IOERR:
            return StoreError(f"{file} cannot be read or written ({said}): see to the disk")
    return None


def _busy(file: Path) -> StoreError:
    return StoreError(f"others have been writing to {file} for {PATIENCE:.0f} seconds: try again")
