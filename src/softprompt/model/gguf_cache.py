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

from softprompt.errors import DiskFull, ModelNotFound, SettingError, translate_os_errors
from softprompt.model.cache_folder import get_cache_folder
from softprompt.model.gguf_manifest import GGUFFolderManifest, create_manifest

logger = logging.getLogger(__name__)

CACHE_LIMIT_VARIABLE = "SOFTPROMPT_GGUF_CACHE_GIB"
DEFAULT_LIMIT_GIB = 32
_FOLDER_NAME_PATTERN = re.compile(r"[0-9a-f]{32}(?:\.tmp)?")  # what `_hash_content` names, and what is being unpacked
PROGRESS_INTERVAL_S = 5.0  # seconds between two lines that say how far it is

_held_locks: dict[tuple[int, Path], FileLock] = {}  # of this process; one that was forked takes its own


def unpack_gguf(file: Path) -> Path:
    """The folder with the de-quantised weights, configuration and tokenizer of a GGUF file.

    Raises:
        ModelNotFound: the file cannot be read as a model.
        ModelNotSupported: a family whose answers would be wrong.
        DiskFull: there is no room for it; nothing is left of the attempt.
        SettingError: the cache folder cannot be written, or its limit is no number.
    """
    models, limit = get_cache_folder() / "models" / "gguf", get_cache_limit()
    _check_readable(file)
    with _translate_cache_errors(models):
        models.mkdir(parents=True, exist_ok=True)
        folder = _find_unpacked(models, file) or models / _hash_content(file)
        with _lock_folder(folder, file):
            contents = GGUFFolderManifest.read_verified(folder)
            if contents is None:
                contents = _unpack_to_folder(file, folder, limit)
            contents.add_source(file)
            _mark_in_use(folder)
    return folder


def get_cache_limit() -> int:
    """How many bytes the unpacked files may take together.

    Raises:
        SettingError: the environment variable is no number.
    """
    text = os.environ.get(CACHE_LIMIT_VARIABLE) or str(DEFAULT_LIMIT_GIB)
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < 2**30:
        raise SettingError(
            f"{CACHE_LIMIT_VARIABLE}={text!r} is no number of GiB: set it to {DEFAULT_LIMIT_GIB}, for example"
        )
    return int(limit * 2**30)


def _check_readable(file: Path) -> None:
    try:
        file.open("rb").close()
    except OSError as error:
        raise ModelNotFound(f"{file} cannot be read ({error.strerror})") from error


@contextmanager
def _translate_cache_errors(models: Path) -> Iterator[None]:
    """Turn the system's refusals to write the cache into errors that say how to have it elsewhere."""
    try:
        with translate_os_errors(models):
            yield
    except (DiskFull, SettingError) as error:
        raise type(error)(f"{error}; SOFTPROMPT_CACHE moves the folder") from error
    except (NotADirectoryError, FileExistsError) as error:
        raise SettingError(f"{models} cannot be made ({error.strerror}): set SOFTPROMPT_CACHE to a folder") from error


def _find_unpacked(models: Path, file: Path) -> Path | None:
    """The folder of a file that was unpacked before and, by its path, size and times, has not changed since."""
    for folder in _list_folders(models):
        contents = GGUFFolderManifest.read_folder(folder)
        if contents is not None and contents.has_source(file):
            return folder
    return None


def _hash_content(file: Path) -> str:
    """Names a file's content."""
    if file.stat().st_size > 2**32:
        logger.info("reading %s, to know whether it was unpacked before", file.name)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:32]


@contextmanager
def _lock_folder(folder: Path, file: Path) -> Iterator[None]:
    """Alone with a folder: it is made, changed, taken into use and removed under this lock."""
    lock = _make_lock(folder)
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        logger.info("waiting for another process, which unpacks %s", file.name)
        lock.acquire()
    with lock:
        lock.release()  # the first of two
        yield


def _make_lock(folder: Path) -> FileLock:
    return FileLock(f"{folder.with_suffix('')}.lock")


def _unpack_to_folder(file: Path, folder: Path, limit: int) -> GGUFFolderManifest:
    """Unpack beside `folder`, then rename: what another process sees is whole. The lock is held."""
    from softprompt.model.gguf_file import GGUFFile  # vLLM's environment has no gguf, and does not come here

    logger.info("unpacking %s once, in %s: later starts read it from there", file.name, folder.parent)
    temporary = folder.with_name(f"{folder.name}.tmp")
    for left in (temporary, folder):
        _remove_folder(left)
    source = GGUFFile(file)
    _evict_oldest(folder, source.num_bytes, limit)
    try:
        source.unpack_to_folder(temporary, UnpackProgressLogger(file.name))
        contents = create_manifest(temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return contents.with_folder(folder)


class UnpackProgressLogger:
    """Says now and then how far it is: one line each, so that it can be read in a log as well."""

    def __init__(self, file_name: str):
        self.file_name, self.last_logged = file_name, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """See `Progress`."""
        now = time.monotonic()
        if now - self.last_logged >= PROGRESS_INTERVAL_S or done == total:
            self.last_logged = now
            logger.info("unpacking %s: %d%% of %.1f GB", self.file_name, 100 * done // total, total / 1e9)


def _evict_oldest(folder: Path, needed_bytes: int, limit_bytes: int) -> None:
    """Remove what was used longest ago, until `needed` bytes are within the limit and on the disk.

    Raises:
        DiskFull: what may be removed is not enough.
    """
    others = sorted((each for each in _list_folders(folder.parent) if each != folder), key=_get_last_use)
    total = sum(map(_get_folder_size, others))
    for other in others:
        if total + needed_bytes <= limit_bytes and _get_free_bytes(folder) > needed_bytes:
            break
        size = _get_folder_size(other)
        if _remove_if_unused(other):
            total -= size
            logger.info("removed %s, which was unpacked and not used for longest", other)
    if _get_free_bytes(folder) <= needed_bytes:
        raise DiskFull(
            f"no space left for {folder}: it takes {needed_bytes / 1e9:.1f} GB and "
            f"{_get_free_bytes(folder) / 1e9:.1f} GB are free: free some and run again"
        )


def _remove_if_unused(folder: Path) -> bool:
    """Remove a folder, unless a process uses it or is about to."""
    try:
        with _make_lock(folder).acquire(timeout=0):
            if _is_in_use(folder):
                return False
            _remove_folder(folder)
            shutil.rmtree(_get_users_folder(folder), ignore_errors=True)
    except Timeout:
        return False
    return True


def _remove_folder(folder: Path) -> None:
    """Remove a folder so that nobody takes what is left of it for a whole one, if this is interrupted."""
    if folder.is_dir():
        (folder / GGUFFolderManifest.FILE_NAME).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _get_users_folder(folder: Path) -> Path:
    return folder.with_suffix(".users")


def _mark_in_use(folder: Path) -> None:
    """Keep this folder from being removed for as long as this process runs. Its lock is held."""
    if (os.getpid(), folder) not in _held_locks:
        _is_in_use(folder)  # removes the locks of processes that ended
        _get_users_folder(folder).mkdir(exist_ok=True)
        lock = FileLock(_get_users_folder(folder) / f"{os.getpid()}.lock", thread_local=False)
        lock.acquire()
        _held_locks[os.getpid(), folder] = lock


def _is_in_use(folder: Path) -> bool:
    """Whether any process uses it. Its lock is held."""
    if (os.getpid(), folder) in _held_locks:
        return True
    return not all(_is_stale_lock(path) for path in _get_users_folder(folder).glob("*.lock"))


def _is_stale_lock(path: Path) -> bool:
    """Whether the process that made this lock has ended; then the lock goes."""
    try:
        FileLock(path).acquire(timeout=0).lock.release()
    except Timeout:
        return False
    path.unlink(missing_ok=True)
    return True


def _list_folders(models: Path) -> list[Path]:
    """Everything that is unpacked, or was being unpacked by a process that was killed; nothing else is ever removed."""
    return [
        path
        for path in models.iterdir()
        if _FOLDER_NAME_PATTERN.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]


def _get_last_use(folder: Path) -> float:
    file = folder / GGUFFolderManifest.FILE_NAME
    return file.stat().st_mtime if file.is_file() else 0.0


def _get_folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _get_free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder.parent).free
