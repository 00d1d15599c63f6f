"""The store's database: opened, made and refused; short transactions to read in and to write in.

It knows nothing of prompts, and nothing of any kind of database: a `Backend` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import exc, inspect, select, update
from sqlalchemy.orm import Session

from softprompt.errors import NewerStore, StoreError
from softprompt.store.backend import Backend, busy
from softprompt.store.migration import OLDEST, migrate_database
from softprompt.store.tables import SCHEMA, StoreRow, Table

_SCHEMA_THERE = select(StoreRow.schema)  # and nothing else: a later softprompt's table may have no other column


class Database:
    """A database that is there. Threads may share it; a process that was forked opens its own.

    Args:
        backend: what it is.
    """

    def __init__(self, backend: Backend):
        self.backend = backend

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state of the database, whatever others write meanwhile.

        Raises:
            StoreError: the database is damaged or cannot be reached.
        """
        with self._explained(), Session(self.backend.readers) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that writes, and no other beside it; it is written when all of it went well.

        Raises:
            DiskFull: nothing was written.
            NewerStore: a later softprompt has changed the store meanwhile.
            StoreError: the database is damaged or cannot be reached, or others wrote for too long.
        """
        with self._explained(), Session(self.backend.writers) as session, session.begin():
            self._check(session.scalar(_SCHEMA_THERE))
            yield session

    def open(self) -> StoreRow:
        """See that it is one of ours; gives what it says of itself. One of an earlier schema is brought to this one.

        Raises:
            DiskFull, SettingError: it is of an earlier schema, and cannot be written.
            NewerStore: it was made by a later softprompt; nothing was touched.
            StoreError: it is another program's, or damaged, or there is none.
        """
        with self.reading() as session:
            schema = self._schema(session)
        if schema is not None and OLDEST <= schema < SCHEMA:
            self._migrate()
        with self.reading() as session:
            self._check(self._schema(session))
            return session.scalars(select(StoreRow)).one()

    def create(self, row: Callable[[], StoreRow]) -> None:
        """Make the tables, unless they are there.

        Args:
            row: what the database is to say of the store. It is called when nothing can go wrong any more but itself.

        Raises:
            DiskFull, SettingError, StoreError: it cannot be made there.
        """
        with self.backend.making():
            with self.reading() as session:
                if self._schema(session) is not None:
                    return
            with self._explained():
                self.backend.prepare()
                with Session(self.backend.writers) as session, session.begin():
                    if self._schema(session) is None:  # another one might have made it in this moment
                        Table.metadata.create_all(session.connection())
                        session.add(row())

    def problem(self) -> str | None:
        """What the database finds wrong with itself, or None."""
        with self.reading() as session:
            return self.backend.problem(session.connection())

    def close(self) -> None:
        """Let go of it."""
        self.backend.readers.dispose()

    def _migrate(self) -> None:
        """Bring it to this schema, unless another process has done so meanwhile."""
        with self._explained(), Session(self.backend.writers) as session, session.begin():
            if session.scalar(_SCHEMA_THERE) == OLDEST:
                migrate_database(session.connection())
                session.execute(update(StoreRow).values(schema=SCHEMA))

    def _schema(self, session: Session) -> int | None:
        """The version of the schema; None where the database has nothing in it."""
        tables = inspect(session.connection()).get_table_names()
        if tables and StoreRow.__tablename__ not in tables:
            raise StoreError(self.backend.foreign)
        return session.scalar(_SCHEMA_THERE) if tables else None

    def _check(self, schema: int | None) -> None:
        if schema is None:
            raise StoreError(self.backend.empty)
        if schema < SCHEMA:
            raise StoreError(
                f"the store {self.backend.name} has version {schema}, from before softprompt's first release: make "
                "a new one, and add the prompts again that lie in its folder `prompts`"
            )
        if schema > SCHEMA:
            name = self.backend.name
            raise NewerStore(
                f"the store {name} has version {schema}, this softprompt reads up to {SCHEMA}: upgrade softprompt"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the database's errors into those that say what to do."""
        try:
            yield
        except exc.TimeoutError as error:
            raise busy(self.backend.name) from error
        except exc.DBAPIError as error:
            if (known := self.backend.meaning(error)) is None:
                raise
            raise known from error
