"""A kind of database that a store can stand on, and what is that kind's alone. `places` chooses one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection, Engine, exc

from softprompt.errors import SoftPromptError, StoreError

PATIENCE = 60.0  # seconds to wait for another process that writes


class Backend(ABC):
    """A database of one kind, that is there or is about to be.

    Attributes:
        name: where it is, as people read it; a password is not in it.
        beside: the folder for prompts where nobody says another place; None where that has to be said.
        readers: whose transactions see one state of the database, and write nothing.
        writers: whose transactions each begin when the one before has ended, and see all that it wrote.
        empty: what there is to say of a database without a table.
        foreign: what there is to say of another program's.
    """

    name: str
    beside: Path | None
    readers: Engine
    writers: Engine
    empty: str
    foreign: str

    @abstractmethod
    def look(self) -> None:
        """See that there can be a store, before anything is opened.

        Raises:
            StoreError: there is none.
        """

    @abstractmethod
    def making(self) -> AbstractContextManager[None]:
        """What is around the making of a store, and around the look whether it has to be made.

        Raises:
            OutputExists: something else is there.
            DiskFull, SettingError: it cannot be made there.
        """

    @abstractmethod
    def prepare(self) -> None:
        """Make the database as it must be before there are tables.

        Raises:
            StoreError: it cannot be made so.
        """

    @abstractmethod
    def problem(self, connection: Connection) -> str | None:
        """What the database finds wrong with itself, or None."""

    @abstractmethod
    def meaning(self, error: exc.DBAPIError) -> SoftPromptError | None:
        """What an error of the database means, and what to do; None where it is a fault of ours."""


def busy(name: str) -> StoreError:
    """Nothing could be written for too long."""
    return StoreError(f"others have been writing to {name} for {PATIENCE:.0f} seconds: try again")
