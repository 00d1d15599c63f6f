"""A store's database for several machines: PostgreSQL. What is PostgreSQL's alone is in here, and nowhere else."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from sqlalchemy import URL, Connection, create_engine, event, exc, text

from softprompt.errors import DiskFull, SettingError, SoftPromptError, StoreError, first_line
from softprompt.store.backend import PATIENCE, Backend, busy
from softprompt.store.tables import Table

TURN = 0x736F6674  # the lock that whoever writes holds; any number that no other program thinks of
CONNECTION = {  # how soon a server that does not answer is given up, in seconds and, the last, in milliseconds
    "application_name": "softprompt",
    "client_encoding": "utf8",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
POOLED = 20  # connections at a time, and no more of them are kept: a gateway asks by so many threads at most


class Postgres(Backend):
    """A database on a PostgreSQL server.

    Args:
        url: where it is, and as whom to ask. What it does not say, libpq finds in its environment and its files.

    Raises:
        SettingError: psycopg is not installed.
    """

    def __init__(self, url: URL):
        self.name, self.beside = _shown(url), None
        settings = {name: value for name, value in CONNECTION.items() if name not in url.query}
        pool = {"pool_size": POOLED, "max_overflow": 0, "pool_timeout": PATIENCE, "pool_pre_ping": True}
        try:
            engine = create_engine(url.set(drivername="postgresql+psycopg"), connect_args=settings, **pool)
        except ModuleNotFoundError as error:
            raise SettingError("a store in PostgreSQL needs psycopg: pip install 'softprompt[postgres]'") from error
        event.listen(engine, "begin", _begin)
        self.readers = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self.writers = engine.execution_options(isolation_level="READ COMMITTED", writes=True)
        self.empty = (
            f"no store in {self.name}: `softprompt prompts add --prompts-at URL` makes one, `place` names another"
        )
        self.foreign = (
            f"{self.name} holds other tables: give the store a database of its own, or a schema, with "
            "?options=-csearch_path%3DSCHEMA behind the URL"
        )

    def look(self) -> None:
        """It is found out when it is asked."""

    def making(self) -> AbstractContextManager[None]:
        """Nothing: the tables and what is in them come in one transaction."""
        return nullcontext()

    def prepare(self) -> None:
        """See that it can hold every text; that was decided when it was made."""
        with self.readers.connect() as connection:
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise StoreError(f"{self.name} is in {encoding}: make one with CREATE DATABASE … ENCODING 'UTF8' for it")

    def problem(self, connection: Connection) -> str | None:
        """What comes of reading every row: the server checks what it reads, the more so with data checksums."""
        try:
            for table in Table.metadata.sorted_tables:
                rows = connection.execution_options(yield_per=1000).execute(table.select())
                for _ in rows.partitions():
                    pass
        except exc.DBAPIError as error:
            if _state(error)[:2] == "XX":
                return first_line(error.orig or error)
            raise
        return None

    def meaning(self, error: exc.DBAPIError) -> SoftPromptError | None:
        """What an error means, by the SQL standard's number for it."""
        name, said = self.name, _said(error)
        if error.connection_invalidated or _state(error)[:3] in ("57P", "08"):
            history = "`softprompt prompts history` tells whether a change was made"
            return StoreError(f"the connection to {name} broke ({said}): try again; {history}")
        match _state(error):
            case "" if isinstance(error, exc.OperationalError | exc.ProgrammingError):  # there never was a connection
                return StoreError(f"{name} cannot be opened ({said}): see that it runs there, to user and password")
            case "55P03":
                return busy(name)
            case "53100":
                return DiskFull(f"no space left for {name}: free some and run again; what was there is untouched")
            case "53300":
                return StoreError(f"{name} has too many connections: try again, or raise its max_connections")
            case "42501":
                return StoreError(f"{name} does not allow it ({said}): have its owner grant it to this user")
            case "25006":
                return StoreError(f"{name} is for reading only: name the server that takes changes as `place`")
            case "40001" | "40P01" | "57014":
                return StoreError(f"{name} broke off ({said}): try again")
            case state if state[:2] == "XX" or state in ("42P01", "42703"):
                return StoreError(f"{name} is damaged ({said}): restore it from a copy")
        if isinstance(error, exc.DataError):
            return SettingError(f"PostgreSQL keeps no such text or number: {said}")
        return None


def _begin(connection: Connection) -> None:
    """Begin a transaction; one that writes waits for its turn, and loses it when it is not heard of for too long."""
    if connection.get_execution_options().get("writes", False):
        limits = {"patience": f"{1000 * PATIENCE:.0f}ms"}
        connection.execute(
            text(f"SELECT {_set('lock_timeout')}, {_set('idle_in_transaction_session_timeout')}"), limits
        )
        connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": TURN})


def _set(name: str) -> str:
    """Set a limit until the transaction ends."""
    return f"set_config('{name}', :patience, true)"


def _state(error: exc.DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _said(error: exc.DBAPIError) -> str:
    """What the server or libpq says, without the furniture."""
    return first_line(error.orig or error)


def _shown(url: URL) -> str:
    """A URL without its password, and without what stands behind it, where another may be."""
    port, user = f":{url.port}" if url.port else "", f"{url.username}@" if url.username else ""
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
    return f"postgresql://{user}{host}{port}/{url.database or ''}"
