"""Atomic writes of files and folders: whenever the process is killed, the path holds the old content or the new."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from softprompt.errors import translate_os_errors

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def atomic_write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder with the given files, replacing an existing folder.

    Args:
        folder: path of the folder.
        files: contents by their paths relative to the folder.

    Raises:
        DiskFull: the disk is full; nothing was changed.
        SettingError: the path is not writable.
    """
    folder = folder.resolve()  # follows a symbolic link, which is kept
    temporary = _temporary_path(folder)
    with translate_os_errors(folder):
        try:
            temporary.mkdir(parents=True)
            for parent in sorted({(temporary / name).parent for name in files} - {temporary}):
                parent.mkdir(parents=True)
            for name, content in files.items():
                atomic_write_file(temporary / name, content)
            replace_folder(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def atomic_write_file(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk; on an error the old file is kept."""
    temporary = _temporary_path(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_create_folder(folder: Path) -> Iterator[Path]:
    """Give the `with` block a path at which to make a folder, which is renamed to `folder` at the end of the block.

    The path is `folder` with the suffix `.tmp`; what an earlier process left there is removed first. The caller holds a
    lock if several processes create the folder. After an error nothing is left.
    """
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Move the folder `source` to `target`. A previous folder ends up at `source`, for deletion."""
    if not target.exists():
        source.rename(target)
    elif not _exchange_paths(source, target):
        # Without the kernel's exchange, `target` is missing for a moment; the old folder is then beside it.
        backup = source.with_suffix(".old")
        target.rename(backup)
        try:
            source.rename(target)
        except BaseException:
            backup.rename(target)
            raise
        shutil.rmtree(backup)


def _temporary_path(path: Path) -> Path:
    """Return an unused path beside `path`, with a random name."""
    return path.with_name(f".{path.name}.{uuid4().hex}.tmp")


def _exchange_paths(first: Path, second: Path) -> bool:
    """Swap two paths atomically; return False if the kernel or the file system cannot (Linux's renameat2)."""
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    paths = os.fsencode(first), os.fsencode(second)
    return bool(renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)
