"""Interface of database backends: everything that depends on the kind of database. `locations` chooses the backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection, Engine, exc

from softprompt.errors import SoftPromptError, StoreError

LOCK_TIMEOUT_S = 60.0  # longest wait for another writer, in seconds


class DatabaseBackend(ABC):
    """A database backend for one database, which may not exist yet.

    Attributes:
        display_name: location of the database for messages, without a password.
        default_artifact_path: folder for artifacts unless a location is given; None if a location is required.
        read_engine: engine whose transactions read a snapshot and write nothing.
        write_engine: engine whose transactions are serialized: each sees all writes of the previous one.
        empty_message: error message for a database without tables.
        foreign_message: error message for a database of another program.
    """

    display_name: str
    default_artifact_path: Path | None
    read_engine: Engine
    write_engine: Engine
    empty_message: str
    foreign_message: str

    @abstractmethod
    def check_exists(self) -> None:
        """Check that a registry can exist, before anything is opened.

        Raises:
            StoreError: the registry does not exist.
        """

    @abstractmethod
    def creation_lock(self) -> AbstractContextManager[None]:
        """Return a lock that is held while checking for a registry and creating it.

        Raises:
            OutputExists: the location contains something else.
            DiskFull, SettingError: the registry cannot be created there.
        """

    @abstractmethod
    def prepare_database(self) -> None:
        """Configure the database before the tables are created.

        Raises:
            StoreError: the database cannot be configured as required.
        """

    @abstractmethod
    def find_corruption(self, connection: Connection) -> str | None:
        """Return a description of damage that the database finds in itself, or None."""

    @abstractmethod
    def translate_error(self, error: exc.DBAPIError) -> SoftPromptError | None:
        """Translate a database error into one that names a remedy; None if the error is a bug in softprompt."""


def make_busy_error(database_name: str) -> StoreError:
    """Make the error for a write transaction that waited too long."""
    return StoreError(f"{database_name} has been locked by other writers for {LOCK_TIMEOUT_S:.0f} seconds: try again")
