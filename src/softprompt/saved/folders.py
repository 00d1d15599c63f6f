"""Put a folder in another's place, whole: killed or out of disk at any moment, the path holds the old or the new."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from softprompt.errors import disk_errors

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files`, by their paths in it, as the content of `folder`, replacing a folder that is there.

    Raises:
        DiskFull: nothing was changed.
        SettingError: the place cannot be written.
    """
    folder = folder.resolve()  # through a symbolic link, which stays one
    temporary = _beside(folder)
    with disk_errors(folder):
        try:
            temporary.mkdir(parents=True)
            for below in sorted({(temporary / name).parent for name in files} - {temporary}):
                below.mkdir(parents=True)
            for name, content in files.items():
                write_file(temporary / name, content)
            put_in_place(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that it is on the disk, whole, or as it was before."""
    temporary = _beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(new: Path, place: Path) -> None:
    """Move the folder `new` to `place`. What was there ends up at `new`, to be thrown away."""
    if not place.exists():
        new.rename(place)
    elif not _exchange(new, place):
        # Without the kernel's exchange there is a moment with nothing at `place`; the old folder is beside it then.
        old = new.with_suffix(".old")
        place.rename(old)
        try:
            new.rename(place)
        except BaseException:
            old.rename(place)
            raise
        shutil.rmtree(old)


def _beside(path: Path) -> Path:
    """Where something is written before it gets its name; nothing else is there, so nothing of another's is lost."""
    return path.with_name(f".{path.name}.{uuid4().hex}.tmp")


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step, where the kernel and the file system can (Linux's renameat2)."""
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)
