"""Folders of files by their content hash. A folder is there whole or not at all, and never changes.

It knows nothing of prompts: not what the files are, nor who needs them.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from softprompt.errors import disk_errors

_HASH = re.compile(r"[0-9a-f]{64}")
_GONE = ".gone"  # how a folder's name ends that nobody needs

LONGEST_WRITE = timedelta(hours=1)  # what takes longer was left by a killed process


class Folders:
    """Where the folders lie, side by side.

    Args:
        root: the folder around them; made when there is something to put into it.
    """

    def __init__(self, root: Path):
        self.root = root

    def path(self, content: str) -> Path:
        """Where the folder of a hash is, if it is there."""
        return self.root / content

    def holds(self, content: str) -> bool:
        """Whether there is one."""
        return self.path(content).is_dir()

    def hashes(self) -> Iterator[str]:
        """Those of all folders, in no order."""
        return (path.name for path in self._entries() if _HASH.fullmatch(path.name))

    def files(self, content: str) -> dict[str, bytes]:
        """A folder's files; what else is in it has no content here."""
        return {p.name: p.read_bytes() if p.is_file() else b"" for p in self.path(content).iterdir()}

    def put(self, content: str, files: Mapping[str, bytes]) -> None:
        """Keep files. Once this returns they outlive a power failure; one that was damaged is mended.

        Raises:
            DiskFull, SettingError: nothing was changed.
        """
        with disk_errors(self.root):
            if not self._has(content, files):
                self._write(content, files)
            for folder in (self.root, self.root.parent):  # also what another put there just now
                _flush(folder)

    def hide(self, content: str) -> None:
        """Take a folder away at once; `sweep` deletes it."""
        self.path(content).rename(self._hidden(_GONE))

    def age(self, content: str) -> timedelta:
        """How long ago a folder was written."""
        return _age(self.path(content))

    def sweep(self) -> None:
        """Delete what was hidden, and what killed processes left."""
        for path in self._entries():
            with suppress(FileNotFoundError):  # another one sweeps too, or has written what it was writing
                if path.suffix == _GONE or (path.name.startswith(".") and _age(path) > LONGEST_WRITE):
                    shutil.rmtree(path, ignore_errors=True)

    def _has(self, content: str, files: Mapping[str, bytes]) -> bool:
        try:
            return self.files(content) == files
        except OSError:
            return False

    def _write(self, content: str, files: Mapping[str, bytes]) -> None:
        # Here and not above, since it takes torch, which is not waited for when nothing is put.
        from softprompt.saved.folders import put_in_place, write_file

        temporary = self._hidden(".tmp")
        try:
            temporary.mkdir(parents=True)
            for name, each in files.items():
                write_file(temporary / name, each)
            _flush(temporary)
            try:
                put_in_place(temporary, self.path(content))
            except OSError:
                if not self._has(content, files):  # another one, who put the same at the same moment
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _hidden(self, ending: str) -> Path:
        return self.root / f".{uuid4().hex}{ending}"

    def _entries(self) -> list[Path]:
        return list(self.root.iterdir()) if self.root.is_dir() else []


def _age(path: Path) -> timedelta:
    return timedelta(seconds=time.time() - path.stat().st_mtime)


def _flush(folder: Path) -> None:
    """See that what a folder lists is on the disk."""
    if sys.platform == "win32":  # which cannot, and does so by itself
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
