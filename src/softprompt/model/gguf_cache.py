"""The user's GGUF files, unpacked once and kept: de-quantising one takes a minute, loading the result seconds.

What is kept is named by the file's content, wherever the file is and whatever it is called. A folder appears whole or
not at all, two processes that want it at once make it once, a damaged one is made anew, and those that were not used
for longest make room. None that a process uses is removed: each process holds a lock of its own for as long as it runs.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from softprompt.errors import DiskFull, ModelNotFound, SettingError, disk_errors
from softprompt.model.cache_folder import cache_folder
from softprompt.model.gguf_contents import Contents, sealed

logger = logging.getLogger(__name__)

LIMIT = "SOFTPROMPT_GGUF_CACHE_GIB"
DEFAULT_LIMIT = 32
_OWN = re.compile(r"[0-9a-f]{32}(?:\.tmp)?")  # what `_content_key` names, and what is being unpacked
INTERVAL = 5.0  # seconds between two lines that say how far it is

_held: dict[tuple[int, Path], FileLock] = {}  # of this process; one that was forked takes its own


def unpacked_gguf(file: Path) -> Path:
    """The folder with the de-quantised weights, configuration and tokenizer of a GGUF file.

    Raises:
        ModelNotFound: the file cannot be read as a model.
        ModelNotSupported: a family whose answers would be wrong.
        DiskFull: there is no room for it; nothing is left of the attempt.
        SettingError: the cache folder cannot be written, or its limit is no number.
    """
    models, limit = cache_folder() / "models" / "gguf", size_limit()
    _check_readable(file)
    with _cache_errors(models):
        models.mkdir(parents=True, exist_ok=True)
        folder = _known(models, file) or models / _content_key(file)
        with _locked(folder, file):
            contents = Contents.of(folder)
            if contents is None:
                contents = _make(file, folder, limit)
            contents.remember(file)
            _hold(folder)
    return folder


def size_limit() -> int:
    """How many bytes the unpacked files may take together.

    Raises:
        SettingError: the environment variable is no number.
    """
    text = os.environ.get(LIMIT) or str(DEFAULT_LIMIT)
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < 2**30:
        raise SettingError(f"{LIMIT}={text!r} is no number of GiB: set it to {DEFAULT_LIMIT}, for example")
    return int(limit * 2**30)


def _check_readable(file: Path) -> None:
    try:
        file.open("rb").close()
    except OSError as error:
        raise ModelNotFound(f"{file} cannot be read ({error.strerror})") from error


@contextmanager
def _cache_errors(models: Path) -> Iterator[None]:
    """Turn the system's refusals to write the cache into errors that say how to have it elsewhere."""
    try:
        with disk_errors(models):
            yield
    except (DiskFull, SettingError) as error:
        raise type(error)(f"{error}; SOFTPROMPT_CACHE moves the folder") from error
    except (NotADirectoryError, FileExistsError) as error:
        raise SettingError(f"{models} cannot be made ({error.strerror}): set SOFTPROMPT_CACHE to a folder") from error


def _known(models: Path, file: Path) -> Path | None:
    """The folder of a file that was unpacked before and, by its path, size and times, has not changed since."""
    for folder in _folders(models):
        contents = Contents.read(folder)
        if contents is not None and contents.remembers(file):
            return folder
    return None


def _content_key(file: Path) -> str:
    """Names a file's content."""
    if file.stat().st_size > 2**32:
        logger.info("reading %s, to know whether it was unpacked before", file.name)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:32]


@contextmanager
def _locked(folder: Path, file: Path) -> Iterator[None]:
    """Alone with a folder: it is made, changed, taken into use and removed under this lock."""
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        logger.info("waiting for another process, which unpacks %s", file.name)
        lock.acquire()
    with lock:
        lock.release()  # the first of two
        yield


def _lock(folder: Path) -> FileLock:
    return FileLock(f"{folder.with_suffix('')}.lock")


def _make(file: Path, folder: Path, limit: int) -> Contents:
    """Unpack beside `folder`, then rename: what another process sees is whole. The lock is held."""
    from softprompt.model.gguf_file import GGUFFile  # vLLM's environment has no gguf, and does not come here

    logger.info("unpacking %s once, in %s: later starts read it from there", file.name, folder.parent)
    temporary = folder.with_name(f"{folder.name}.tmp")
    for left in (temporary, folder):
        _remove(left)
    source = GGUFFile(file)
    _make_room(folder, source.num_bytes, limit)
    try:
        source.unpack(temporary, Report(file.name))
        contents = sealed(temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return contents.moved(folder)


class Report:
    """Says now and then how far it is: one line each, so that it can be read in a log as well."""

    def __init__(self, name: str):
        self.name, self.last = name, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """See `Progress`."""
        now = time.monotonic()
        if now - self.last >= INTERVAL or done == total:
            self.last = now
            logger.info("unpacking %s: %d%% of %.1f GB", self.name, 100 * done // total, total / 1e9)


def _make_room(folder: Path, needed: int, limit: int) -> None:
    """Remove what was used longest ago, until `needed` bytes are within the limit and on the disk.

    Raises:
        DiskFull: what may be removed is not enough.
    """
    others = sorted((each for each in _folders(folder.parent) if each != folder), key=_last_use)
    total = sum(map(_size, others))
    for other in others:
        if total + needed <= limit and _free(folder) > needed:
            break
        size = _size(other)
        if _remove_unused(other):
            total -= size
            logger.info("removed %s, which was unpacked and not used for longest", other)
    if _free(folder) <= needed:
        raise DiskFull(
            f"no space left for {folder}: it takes {needed / 1e9:.1f} GB and {_free(folder) / 1e9:.1f} GB are free: "
            "free some and run again"
        )


def _remove_unused(folder: Path) -> bool:
    """Remove a folder, unless a process uses it or is about to."""
    try:
        with _lock(folder).acquire(timeout=0):
            if _is_held(folder):
                return False
            _remove(folder)
            shutil.rmtree(_holders(folder), ignore_errors=True)
    except Timeout:
        return False
    return True


def _remove(folder: Path) -> None:
    """Remove a folder so that nobody takes what is left of it for a whole one, if this is interrupted."""
    if folder.is_dir():
        (folder / Contents.FILE).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _holders(folder: Path) -> Path:
    return folder.with_suffix(".users")


def _hold(folder: Path) -> None:
    """Keep this folder from being removed for as long as this process runs. Its lock is held."""
    if (os.getpid(), folder) not in _held:
        _is_held(folder)  # removes the locks of processes that ended
        _holders(folder).mkdir(exist_ok=True)
        lock = FileLock(_holders(folder) / f"{os.getpid()}.lock", thread_local=False)
        lock.acquire()
        _held[os.getpid(), folder] = lock


def _is_held(folder: Path) -> bool:
    """Whether any process uses it. Its lock is held."""
    if (os.getpid(), folder) in _held:
        return True
    return not all(_is_free(path) for path in _holders(folder).glob("*.lock"))


def _is_free(path: Path) -> bool:
    """Whether the process that made this lock has ended; then the lock goes."""
    try:
        FileLock(path).acquire(timeout=0).lock.release()
    except Timeout:
        return False
    path.unlink(missing_ok=True)
    return True


def _folders(models: Path) -> list[Path]:
    """Everything that is unpacked, or was being unpacked by a process that was killed; nothing else is ever removed."""
    return [path for path in models.iterdir() if _OWN.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]


def _last_use(folder: Path) -> float:
    file = folder / Contents.FILE
    return file.stat().st_mtime if file.is_file() else 0.0


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder.parent).free
