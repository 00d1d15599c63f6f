"""Database of a registry: creation, schema checks, and short read and write transactions.

This module knows neither prompts nor the kind of database, which a `DatabaseBackend` implements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import exc, inspect, select, update
from sqlalchemy.orm import Session

from softprompt.errors import StoreError, UnsupportedStoreFormat
from softprompt.registry.database_backend import DatabaseBackend, make_busy_error
from softprompt.registry.database_tables import SCHEMA_VERSION, OrmBase, RegistryRow
from softprompt.registry.schema_migration import OLDEST_SCHEMA_VERSION, migrate_database

# No other column: in a newer schema the table may not have the others.
_SELECT_SCHEMA_VERSION = select(RegistryRow.schema_version)


class RegistryDatabase:
    """The database of a registry. Threads may share it; a forked process must open its own.

    Args:
        backend: the database backend.
    """

    def __init__(self, backend: DatabaseBackend):
        self.backend = backend

    @contextmanager
    def read_session(self) -> Iterator[Session]:
        """Open a transaction that reads a snapshot of the database.

        Raises:
            StoreError: the database is damaged or cannot be reached.
        """
        with self._translate_errors(), Session(self.backend.read_engine) as session:
            yield session

    @contextmanager
    def write_session(self) -> Iterator[Session]:
        """Open an exclusive write transaction, which is committed if its block succeeds.

        Raises:
            DiskFull: no space is left; nothing was written.
            UnsupportedStoreFormat: a newer softprompt has migrated the registry meanwhile.
            StoreError: the database is damaged, cannot be reached, or stayed locked for too long.
        """
        with self._translate_errors(), Session(self.backend.write_engine) as session, session.begin():
            self._check_schema_version(session.scalar(_SELECT_SCHEMA_VERSION))
            yield session

    def open_registry(self) -> RegistryRow:
        """Check the database and return its registry row. An older schema is migrated.

        Raises:
            DiskFull, SettingError: the schema is older and the database cannot be written.
            UnsupportedStoreFormat: a newer softprompt created the registry; nothing was changed.
            StoreError: the database is missing, damaged, or belongs to another program.
        """
        with self.read_session() as session:
            schema_version = self._read_schema_version(session)
        if schema_version is not None and OLDEST_SCHEMA_VERSION <= schema_version < SCHEMA_VERSION:
            self._migrate_schema()
        with self.read_session() as session:
            self._check_schema_version(self._read_schema_version(session))
            return session.scalars(select(RegistryRow)).one()

    def create_tables(self, make_row: Callable[[], RegistryRow]) -> None:
        """Create the tables, unless they exist.

        Args:
            make_row: returns the registry row. It is called last, when all other steps have succeeded.

        Raises:
            DiskFull, SettingError, StoreError: the tables cannot be created.
        """
        with self.backend.creation_lock():
            with self.read_session() as session:
                if self._read_schema_version(session) is not None:
                    return
            with self._translate_errors():
                self.backend.prepare_database()
                with Session(self.backend.write_engine) as session, session.begin():
                    if self._read_schema_version(session) is None:  # another process may have created them just now
                        OrmBase.metadata.create_all(session.connection())
                        session.add(make_row())

    def find_corruption(self) -> str | None:
        """Return a description of damage that the database finds in itself, or None."""
        with self.read_session() as session:
            return self.backend.find_corruption(session.connection())

    def close(self) -> None:
        """Close all connections."""
        self.backend.read_engine.dispose()

    def _migrate_schema(self) -> None:
        """Migrate an older schema, unless another process has done so meanwhile."""
        with self._translate_errors(), Session(self.backend.write_engine) as session, session.begin():
            if session.scalar(_SELECT_SCHEMA_VERSION) == OLDEST_SCHEMA_VERSION:
                migrate_database(session.connection())
                session.execute(update(RegistryRow).values(schema_version=SCHEMA_VERSION))

    def _read_schema_version(self, session: Session) -> int | None:
        """Return the version of the schema; None if the database is empty."""
        tables = inspect(session.connection()).get_table_names()
        if tables and RegistryRow.__tablename__ not in tables:
            raise StoreError(self.backend.foreign_message)
        return session.scalar(_SELECT_SCHEMA_VERSION) if tables else None

    def _check_schema_version(self, schema_version: int | None) -> None:
        if schema_version is None:
            raise StoreError(self.backend.empty_message)
        if schema_version < SCHEMA_VERSION:
            name = self.backend.display_name
            raise StoreError(
                f"the registry {name} has version {schema_version}, from before softprompt's first release: create a "
                "new one, and add the prompts in its folder `prompts` again"
            )
        if schema_version > SCHEMA_VERSION:
            name = self.backend.display_name
            raise UnsupportedStoreFormat(
                f"the registry {name} has version {schema_version}, but this softprompt reads versions up to "
                f"{SCHEMA_VERSION}: upgrade softprompt"
            )

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate database errors into errors that name a remedy."""
        try:
            yield
        except exc.TimeoutError as error:
            raise make_busy_error(self.backend.display_name) from error
        except exc.DBAPIError as error:
            if (translated := self.backend.translate_error(error)) is None:
                raise
            raise translated from error
