"""Tensors by name in one SQLite file: read through a memory map, shared by processes, bounded, checked when read.

Nothing depends on it. Where it is damaged it is made anew; where it cannot be read or written, nothing is found and
nothing is kept, and that is said once.
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

LIMIT = 8 * 2**30  # bytes
PATIENCE = 30.0  # seconds to wait for another process that writes
STAMPED = 60.0  # seconds from one note that a shelf is in use to the next
PAGE = 16 * 1024  # bytes; a short text's states have tens of thousands

TABLES = """
CREATE TABLE IF NOT EXISTS shelves (id INTEGER PRIMARY KEY, name TEXT UNIQUE, used REAL);
CREATE TABLE IF NOT EXISTS kept (shelf INTEGER, key BLOB, checksum INTEGER, content BLOB, PRIMARY KEY (shelf, key));
"""

Answer = TypeVar("Answer")


class StatesFile:
    """Tensors on shelves. The shelf that was used longest ago makes room where there is none.

    Args:
        path: the file; it and its folder are made when there is something to keep.
        limit: the most bytes it may have.
    """

    def __init__(self, path: Path, limit: int = LIMIT):
        self.path, self.limit = path, limit
        self._connection: sqlite3.Connection | None = None
        self._shelves: dict[str, tuple[int, float]] = {}
        self._given_up = self._full = False

    def get(self, shelf: str, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """Those of the keys that are kept and undamaged."""
        return self._asked(lambda file: self._read(file, shelf, keys), {})

    def put(self, shelf: str, tensors: dict[bytes, Tensor]) -> None:
        """Keep these, if there is room."""
        if not self._full:
            self._asked(lambda file: self._write(file, shelf, tensors), None)

    def _asked(self, work: Callable[[sqlite3.Connection], Answer], otherwise: Answer) -> Answer:
        if self._given_up:
            return otherwise
        try:
            return work(self._opened())
        except sqlite3.DatabaseError as error:
            self._troubled(error)
        except OSError as error:
            self._give_up(error)
        return otherwise

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = sqlite3.connect(self.path, timeout=PATIENCE, check_same_thread=False)
            try:
                self._set_up(file)
            except BaseException:
                file.close()
                raise
            self._connection = file
        return self._connection

    def _set_up(self, file: sqlite3.Connection) -> None:
        """Make a connection as it must be; one process at a time, since SQLite waits for no other to change a mode."""
        with FileLock(f"{self.path}.lock", timeout=PATIENCE):
            file.execute(f"PRAGMA page_size = {PAGE}")
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = NORMAL")  # a crash may lose the last texts, and nothing else
            file.execute(f"PRAGMA mmap_size = {self.limit}")
            file.execute(f"PRAGMA max_page_count = {max(8, self.limit // PAGE)}")
            file.executescript(TABLES)

    def _read(self, file: sqlite3.Connection, shelf: str, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        number, found = self._shelf(file, shelf), {}
        for key in set(keys):
            row = file.execute(
                "SELECT checksum, content FROM kept WHERE shelf = ? AND key = ?", (number, key)
            ).fetchone()
            if row is None:
                continue
            checksum, content = row
            if zlib.crc32(content) != checksum:
                raise sqlite3.DatabaseError("what is read is not what was written")
            found[key] = load(content)["states"]
        return found

    def _write(self, file: sqlite3.Connection, shelf: str, tensors: dict[bytes, Tensor]) -> None:
        number, rows = self._shelf(file, shelf), []
        for key, tensor in tensors.items():
            content = save({"states": tensor.cpu().contiguous()})
            rows.append((number, key, zlib.crc32(content), content))
        while True:
            try:
                with file:
                    file.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?, ?, ?)", rows)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._make_room(file, number):
                    raise

    def _shelf(self, file: sqlite3.Connection, name: str) -> int:
        """The number of a shelf, which is in use now."""
        number, stamped = self._shelves.get(name, (0, 0.0))
        if time.time() - stamped > STAMPED:
            with file:
                file.execute("INSERT OR IGNORE INTO shelves (name) VALUES (?)", (name,))
                file.execute("UPDATE shelves SET used = ? WHERE name = ?", (time.time(), name))
            (number,) = file.execute("SELECT id FROM shelves WHERE name = ?", (name,)).fetchone()
            self._shelves[name] = number, time.time()
        return number

    def _make_room(self, file: sqlite3.Connection, in_use: int) -> bool:
        """Clear the shelf that was used longest ago; whether there was one."""
        with file:
            oldest = "SELECT shelf FROM kept JOIN shelves ON id = shelf WHERE id != ? ORDER BY used LIMIT 1"
            found = file.execute(oldest, (in_use,)).fetchone()
            if found is not None:
                file.execute("DELETE FROM kept WHERE shelf = ?", found)
        return found is not None

    def _troubled(self, error: sqlite3.DatabaseError) -> None:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # without its details
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return
        if code == sqlite3.SQLITE_FULL:
            self._full = True
            logger.warning("no room for more in %s: what is not in it is computed every time", self.path)
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self._begin_anew(error)
        else:
            self._give_up(error)

    def _begin_anew(self, error: Exception) -> None:
        logger.warning("%s is damaged (%s): it is made anew", self.path, error)
        self._close()
        try:
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        except OSError as another:
            self._give_up(another)

    def _give_up(self, error: Exception) -> None:
        self._given_up = True
        self._close()
        logger.warning("%s cannot be used (%s): what it would hold is computed every time", self.path, error)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._shelves = None, {}
