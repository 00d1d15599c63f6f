"""A bounded store of named tensors in one SQLite file: memory mapped, shared by processes, verified when read.

The store is only a cache. A corrupt file is recreated. If the file cannot be read or written, the store finds nothing,
keeps nothing, and logs that once.
"""

from __future__ import annotations

import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from safetensors.torch import load, save
from torch import Tensor

logger = logging.getLogger(__name__)

MAX_BYTES = 8 * 2**30
LOCK_TIMEOUT_S = 30.0  # to wait for another process that writes
TOUCH_INTERVAL_S = 60.0  # between two updates of a namespace's time of use
PAGE_BYTES = 16 * 1024  # the hidden states of a short text take several pages

SCHEMA = """
CREATE TABLE IF NOT EXISTS shelves (id INTEGER PRIMARY KEY, name TEXT UNIQUE, used REAL);
CREATE TABLE IF NOT EXISTS kept (shelf INTEGER, key BLOB, checksum INTEGER, content BLOB, PRIMARY KEY (shelf, key));
"""

ResultT = TypeVar("ResultT")


class SQLiteTensorStore:
    """A store of tensors in namespaces, which evicts the least recently used namespace when it is full.

    Args:
        path: SQLite file; file and folder are created with the first access.
        max_bytes: maximum size of the file in bytes.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES):
        self.path, self.max_bytes = path, max_bytes
        self._connection: sqlite3.Connection | None = None
        self._namespaces: dict[str, tuple[int, float]] = {}
        self._is_disabled = self._is_full = False

    def get(self, namespace: str, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """Return the tensors of those keys that are stored."""
        return self._attempt(lambda file: self._read_tensors(file, namespace, keys), {})

    def put(self, namespace: str, tensors: dict[bytes, Tensor]) -> None:
        """Store tensors, if there is space."""
        if not self._is_full:
            self._attempt(lambda file: self._write_tensors(file, namespace, tensors), None)

    def _attempt(self, operation: Callable[[sqlite3.Connection], ResultT], default: ResultT) -> ResultT:
        if self._is_disabled:
            return default
        try:
            return operation(self._get_connection())
        except sqlite3.DatabaseError as error:
            self._handle_database_error(error)
        except OSError as error:
            self._disable_store(error)
        return default

    def _get_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT_S, check_same_thread=False)
            try:
                self._configure_connection(file)
            except BaseException:
                file.close()
                raise
            self._connection = file
        return self._connection

    def _configure_connection(self, connection: sqlite3.Connection) -> None:
        """Configure a connection under a lock, since SQLite does not wait while another process changes a mode."""
        with FileLock(f"{self.path}.lock", timeout=LOCK_TIMEOUT_S):
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # a crash may lose the last texts, and nothing else
            connection.execute(f"PRAGMA mmap_size = {self.max_bytes}")
            connection.execute(f"PRAGMA max_page_count = {max(8, self.max_bytes // PAGE_BYTES)}")
            connection.executescript(SCHEMA)

    def _read_tensors(
        self, connection: sqlite3.Connection, namespace: str, keys: Sequence[bytes]
    ) -> dict[bytes, Tensor]:
        namespace_id, tensors = self._touch_namespace(connection, namespace), {}
        for key in set(keys):
            row = connection.execute(
                "SELECT checksum, content FROM kept WHERE shelf = ? AND key = ?", (namespace_id, key)
            ).fetchone()
            if row is None:
                continue
            checksum, content = row
            if zlib.crc32(content) != checksum:
                raise sqlite3.DatabaseError("the checksum does not match")
            tensors[key] = load(content)["states"]
        return tensors

    def _write_tensors(self, connection: sqlite3.Connection, namespace: str, tensors: dict[bytes, Tensor]) -> None:
        namespace_id, rows = self._touch_namespace(connection, namespace), []
        for key, tensor in tensors.items():
            content = save({"states": tensor.cpu().contiguous()})
            rows.append((namespace_id, key, zlib.crc32(content), content))
        while True:
            try:
                with connection:
                    connection.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?, ?, ?)", rows)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._evict_oldest(connection, namespace_id):
                    raise

    def _touch_namespace(self, connection: sqlite3.Connection, name: str) -> int:
        """Return the id of a namespace and update its time of use."""
        namespace_id, touched_at = self._namespaces.get(name, (0, 0.0))
        if time.time() - touched_at > TOUCH_INTERVAL_S:
            with connection:
                connection.execute("INSERT OR IGNORE INTO shelves (name) VALUES (?)", (name,))
                connection.execute("UPDATE shelves SET used = ? WHERE name = ?", (time.time(), name))
            (namespace_id,) = connection.execute("SELECT id FROM shelves WHERE name = ?", (name,)).fetchone()
            self._namespaces[name] = namespace_id, time.time()
        return namespace_id

    def _evict_oldest(self, connection: sqlite3.Connection, namespace_id: int) -> bool:
        """Evict the least recently used other namespace; return whether there was one."""
        with connection:
            oldest = "SELECT shelf FROM kept JOIN shelves ON id = shelf WHERE id != ? ORDER BY used LIMIT 1"
            oldest_row = connection.execute(oldest, (namespace_id,)).fetchone()
            if oldest_row is not None:
                connection.execute("DELETE FROM kept WHERE shelf = ?", oldest_row)
        return oldest_row is not None

    def _handle_database_error(self, error: sqlite3.DatabaseError) -> None:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # without its details
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return
        if code == sqlite3.SQLITE_FULL:
            self._is_full = True
            logger.warning("%s is full: further hidden states are computed every time", self.path)
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self._recreate_file(error)
        else:
            self._disable_store(error)

    def _recreate_file(self, error: Exception) -> None:
        logger.warning("%s is corrupt (%s): the file is recreated", self.path, error)
        self._close_connection()
        try:
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        except OSError as another:
            self._disable_store(another)

    def _disable_store(self, error: Exception) -> None:
        self._is_disabled = True
        self._close_connection()
        logger.warning("%s cannot be used (%s): hidden states are computed every time", self.path, error)

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._namespaces = None, {}
