"""Cache of unpacked GGUF files: dequantizing a file takes a minute, loading the result takes seconds.

An entry is a folder named by the hash of the file's content, so it is found when the file is moved or renamed. It
appears complete or not at all. Concurrent processes unpack a file once, a damaged folder is unpacked again, and the
least recently used folders are evicted. A folder in use is never removed: each process holds a lock file until it ends.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from softprompt.atomic import atomic_create_folder
from softprompt.errors import DiskFull, ModelNotFound, SettingError, translate_os_errors
from softprompt.model.cache_folder import get_cache_folder
from softprompt.model.gguf_manifest import GGUFFolderManifest, create_manifest
from softprompt.model.unpack_progress import UnpackProgressLogger

logger = logging.getLogger(__name__)

CACHE_LIMIT_VARIABLE = "SOFTPROMPT_GGUF_CACHE_GIB"
DEFAULT_LIMIT_GIB = 32
_FOLDER_NAME_PATTERN = re.compile(r"[0-9a-f]{32}(?:\.tmp)?")  # a name from `_hash_content`; `.tmp` while unpacking

_held_locks: dict[tuple[int, Path], FileLock] = {}  # by process id, because a forked process needs its own locks


def unpack_gguf(file: Path) -> Path:
    """Return the folder with the dequantized weights, configuration and tokenizer of a GGUF file.

    Raises:
        ModelNotFound: the file cannot be read as a model.
        ModelNotSupported: the model's family is not supported.
        DiskFull: the disk has no space for the folder; a partial folder is removed.
        SettingError: the cache folder cannot be written, or its limit is not a number.
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
    """Return the maximum size of all unpacked files together, in bytes.

    Raises:
        SettingError: the environment variable is not a number.
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
    """Translate errors of the file system into errors that say how to move the cache."""
    try:
        with translate_os_errors(models):
            yield
    except (DiskFull, SettingError) as error:
        raise type(error)(f"{error}; SOFTPROMPT_CACHE moves the folder") from error
    except (NotADirectoryError, FileExistsError) as error:
        raise SettingError(f"{models} cannot be made ({error.strerror}): set SOFTPROMPT_CACHE to a folder") from error


def _find_unpacked(models: Path, file: Path) -> Path | None:
    """Return the folder of an unpacked file whose path, size and times are unchanged, or None."""
    for folder in _list_folders(models):
        contents = GGUFFolderManifest.read_folder(folder)
        if contents is not None and contents.has_source(file):
            return folder
    return None


def _hash_content(file: Path) -> str:
    """Hash the content of a file to the name of its folder."""
    if file.stat().st_size > 2**32:
        logger.info("reading %s, to know whether it was unpacked before", file.name)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:32]


@contextmanager
def _lock_folder(folder: Path, file: Path) -> Iterator[None]:
    """Hold the lock under which a folder is created, changed, marked as used and removed."""
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
    """Unpack a file to a folder that other processes see only when it is complete. Needs the folder's lock."""
    from softprompt.model.gguf_file import GGUFFile  # vLLM's environment has no gguf, and does not call this function

    logger.info("unpacking %s once, in %s: later starts read it from there", file.name, folder.parent)
    _remove_folder(folder)
    with atomic_create_folder(folder) as temporary:
        source = GGUFFile(file)
        _evict_oldest(folder, source.num_bytes, limit)
        source.unpack_to_folder(temporary, UnpackProgressLogger(file.name))
        contents = create_manifest(temporary)
    return contents.with_folder(folder)


def _evict_oldest(folder: Path, needed_bytes: int, limit_bytes: int) -> None:
    """Remove the least recently used folders until `needed_bytes` more fit the limit and the disk.

    Raises:
        DiskFull: all removable folders together are too small.
    """
    others = sorted((other for other in _list_folders(folder.parent) if other != folder), key=_get_last_use)
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
    """Remove a folder, unless a process uses it or holds its lock. Return whether it was removed."""
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
    """Remove a folder, its manifest first, so that an interrupted removal leaves no folder that looks complete."""
    if folder.is_dir():
        (folder / GGUFFolderManifest.FILE_NAME).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _get_users_folder(folder: Path) -> Path:
    return folder.with_suffix(".users")


def _mark_in_use(folder: Path) -> None:
    """Prevent the removal of a folder until this process ends. Needs the folder's lock."""
    if (os.getpid(), folder) not in _held_locks:
        _is_in_use(folder)  # removes the locks of processes that ended
        _get_users_folder(folder).mkdir(exist_ok=True)
        lock = FileLock(_get_users_folder(folder) / f"{os.getpid()}.lock", thread_local=False)
        lock.acquire()
        _held_locks[os.getpid(), folder] = lock


def _is_in_use(folder: Path) -> bool:
    """Return whether any process uses a folder. Needs the folder's lock."""
    if (os.getpid(), folder) in _held_locks:
        return True
    return not all(_is_stale_lock(path) for path in _get_users_folder(folder).glob("*.lock"))


def _is_stale_lock(path: Path) -> bool:
    """Return whether the process that made this lock has ended, and remove the lock if so."""
    try:
        FileLock(path).acquire(timeout=0).lock.release()
    except Timeout:
        return False
    path.unlink(missing_ok=True)
    return True


def _list_folders(models: Path) -> list[Path]:
    """List the unpacked folders, and those whose unpacking was killed: only these folders are ever removed."""
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
