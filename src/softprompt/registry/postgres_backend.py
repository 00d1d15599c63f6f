"""PostgreSQL backend, for registries that several machines share. Only this module depends on PostgreSQL."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from sqlalchemy import URL, Connection, create_engine, event, exc, text

from softprompt.errors import DiskFull, SettingError, SoftPromptError, StoreError, summarize_error
from softprompt.registry.database_backend import LOCK_TIMEOUT_S, DatabaseBackend, make_busy_error
from softprompt.registry.database_tables import OrmBase

WRITER_LOCK_ID = 0x736F6674  # id of the advisory lock of writers; any number that other programs do not use
CONNECTION_DEFAULTS = {  # timeouts for a server that does not respond: in seconds, and the last one in milliseconds
    "application_name": "softprompt",
    "client_encoding": "utf8",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
POOL_SIZE = 20  # largest number of connections, and number of threads by which a gateway sends queries


class PostgresBackend(DatabaseBackend):
    """A database on a PostgreSQL server.

    Args:
        url: URL with the server, the database and the user. libpq reads missing parts from its environment and files.

    Raises:
        SettingError: psycopg is not installed.
    """

    def __init__(self, url: URL):
        self.display_name, self.default_artifact_path = _url_without_password(url), None
        settings = {name: value for name, value in CONNECTION_DEFAULTS.items() if name not in url.query}
        pool = {"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": LOCK_TIMEOUT_S, "pool_pre_ping": True}
        try:
            engine = create_engine(url.set(drivername="postgresql+psycopg"), connect_args=settings, **pool)
        except ModuleNotFoundError as error:
            raise SettingError("a registry in PostgreSQL needs psycopg: pip install 'softprompt[postgres]'") from error
        event.listen(engine, "begin", _begin_transaction)
        self.read_engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self.write_engine = engine.execution_options(isolation_level="READ COMMITTED", writes=True)
        self.empty_message = (
            f"no prompt registry in {self.display_name}: create one with `softprompt prompts add --artifact-location "
            "URL`, or set `location` to another one"
        )
        self.foreign_message = (
            f"{self.display_name} contains other tables: use a separate database for the registry, or a schema, with "
            "?options=-csearch_path%3DSCHEMA at the end of the URL"
        )

    def check_exists(self) -> None:
        """Do nothing: the first query fails if the database does not exist."""

    def creation_lock(self) -> AbstractContextManager[None]:
        """Return no lock: tables and registry row are created in one transaction."""
        return nullcontext()

    def prepare_database(self) -> None:
        """Check that the database stores all of Unicode, which its encoding decides at creation."""
        with self.read_engine.connect() as connection:
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise StoreError(
                f"{self.display_name} has the encoding {encoding}: create a database with ENCODING 'UTF8' instead"
            )

    def find_corruption(self, connection: Connection) -> str | None:
        """Read every row: the server checks what it reads, more thoroughly with data checksums."""
        try:
            for table in OrmBase.metadata.sorted_tables:
                rows = connection.execution_options(yield_per=1000).execute(table.select())
                for _ in rows.partitions():
                    pass
        except exc.DBAPIError as error:
            if _get_sqlstate(error)[:2] == "XX":
                return summarize_error(error.orig or error)
            raise
        return None

    def translate_error(self, error: exc.DBAPIError) -> SoftPromptError | None:
        """Translate an error by its SQLSTATE code."""
        name, message = self.display_name, _server_message(error)
        if error.connection_invalidated or _get_sqlstate(error)[:3] in ("57P", "08"):
            history = "`softprompt prompts history` shows whether the change was made"
            return StoreError(f"the connection to {name} broke ({message}): try again; {history}")
        match _get_sqlstate(error):
            case "" if isinstance(error, exc.OperationalError | exc.ProgrammingError):  # the connection was refused
                return StoreError(f"cannot connect to {name} ({message}): check the server, the user and the password")
            case "55P03":
                return make_busy_error(name)
            case "53100":
                return DiskFull(f"no space left for {name}: free some and run again; nothing was changed")
            case "53300":
                return StoreError(f"{name} has too many connections: try again, or raise its max_connections")
            case "42501":
                return StoreError(f"{name} denied permission ({message}): have its owner grant it to this user")
            case "25006":
                return StoreError(f"{name} is read-only: set `location` to the server that accepts writes")
            case "40001" | "40P01" | "57014":
                return StoreError(f"{name} aborted the transaction ({message}): try again")
            case state if state[:2] == "XX" or state in ("42P01", "42703"):
                return StoreError(f"{name} is damaged ({message}): restore it from a backup")
        if isinstance(error, exc.DataError):
            return SettingError(f"PostgreSQL cannot store this text or number: {message}")
        return None


def _begin_transaction(connection: Connection) -> None:
    """Begin a transaction. A write transaction waits for the lock, and is aborted when it is idle for too long."""
    if connection.get_execution_options().get("writes", False):
        limits = {"patience": f"{1000 * LOCK_TIMEOUT_S:.0f}ms"}
        connection.execute(
            text(f"SELECT {_set_config_sql('lock_timeout')}, {_set_config_sql('idle_in_transaction_session_timeout')}"),
            limits,
        )
        connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": WRITER_LOCK_ID})


def _set_config_sql(name: str) -> str:
    """Return the SQL that sets a timeout for the current transaction."""
    return f"set_config('{name}', :patience, true)"


def _get_sqlstate(error: exc.DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _server_message(error: exc.DBAPIError) -> str:
    """Return the message of the server or libpq, without details."""
    return summarize_error(error.orig or error)


def _url_without_password(url: URL) -> str:
    """Return a URL without its password and its query, which may contain another one."""
    port, user = f":{url.port}" if url.port else "", f"{url.username}@" if url.username else ""
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
    return f"postgresql://{user}{host}{port}/{url.database or ''}"
