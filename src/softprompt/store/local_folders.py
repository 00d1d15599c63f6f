"""Folders on this machine's disks: written beside their place, flushed, and renamed."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from softprompt.errors import disk_errors
from softprompt.store.folders import HASH, LONGEST_WRITE, OWNER, Folders, Kept

_GONE, _WRITTEN = ".gone", ".tmp"  # how the names of what nobody needs end, and of what is being written
_HIDDEN = re.compile(rf"\.(?:softprompt-|{OWNER}\.)[0-9a-f]{{32}}\.(?:tmp|old|gone)")
_KINDS = (".json", ".safetensors")  # of a prompt's files; a folder with any other is somebody else's too
_OF_THE_SYSTEM = "lost+found"  # which some file systems have in their root


class LocalFolders(Folders):
    """Folders side by side in one.

    Args:
        root: the folder around them; made when there is something to put into it.
    """

    def __init__(self, root: Path):
        self.root, self.name = root, str(root)

    def holds(self, content: str) -> bool:
        """Whether there is a folder."""
        return (self.root / content).is_dir()

    def listed(self) -> Iterator[Kept]:
        """All folders that hold nothing but a prompt's files; one that goes meanwhile is left out."""
        for path in self._entries():
            if HASH.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                with suppress(FileNotFoundError):
                    sizes = [_size_of_own(each) for each in path.iterdir()]
                    if None not in sizes:
                        yield Kept(path.name, _age(path), sum(filter(None, sizes)))

    def files(self, content: str) -> dict[str, bytes]:
        """A folder's files."""
        return {p.name: p.read_bytes() if p.is_file() else b"" for p in (self.root / content).iterdir()}

    def put(self, content: str, files: Mapping[str, bytes]) -> None:
        """Keep files, flushed."""
        with disk_errors(self.root):
            if not self._has(content, files):
                self._write(content, files)
            for folder in (self.root, self.root.parent):  # also what another put there just now
                _flush(folder)

    def hide(self, content: str) -> str:
        """Give a folder another name."""
        with disk_errors(self.root):
            return (self.root / content).rename(self._hidden(_GONE)).name

    def restore(self, content: str, hidden: str) -> None:
        """Give a folder its name back."""
        with suppress(OSError):  # the same is there again, or somebody has swept
            (self.root / hidden).rename(self.root / content)

    def delete(self, hidden: Sequence[str]) -> None:
        """Delete what was hidden."""
        for name in hidden:
            _delete(self.root / name)

    def sweep(self) -> None:
        """Delete what was hidden, and what killed processes left."""
        with disk_errors(self.root):
            for path in self._entries():
                with suppress(FileNotFoundError):  # another one sweeps too, or has written what it was writing
                    if (
                        _HIDDEN.fullmatch(path.name)
                        and not path.is_symlink()
                        and (path.suffix == _GONE or _age(path) > LONGEST_WRITE)
                    ):
                        _delete(path)

    def foreign(self) -> str | None:
        """The first in alphabetical order."""
        with disk_errors(self.root):
            names = sorted(path.name for path in self._entries())
        own = (OWNER, _OF_THE_SYSTEM)
        return next((n for n in names if n not in own and not HASH.fullmatch(n) and not _HIDDEN.fullmatch(n)), None)

    def owner(self) -> str | None:
        """What stands in the file for it."""
        with disk_errors(self.root):
            file = self.root / OWNER
            return file.read_text("utf-8") if file.is_file() else None

    def take(self, owner: str) -> None:
        """Write it into the file."""
        from softprompt.saved.folders import write_file

        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            write_file(self.root / OWNER, owner.encode())

    def _has(self, content: str, files: Mapping[str, bytes]) -> bool:
        try:
            return self.files(content) == files
        except OSError:
            return False

    def _write(self, content: str, files: Mapping[str, bytes]) -> None:
        # Here and not above, since it takes torch, which is not waited for when nothing is put.
        from softprompt.saved.folders import put_in_place, write_file

        temporary = self._hidden(_WRITTEN)
        try:
            temporary.mkdir(parents=True)
            for name, each in files.items():
                write_file(temporary / name, each)
            _flush(temporary)
            try:
                put_in_place(temporary, self.root / content)
            except OSError:
                if not self._has(content, files):  # another one, who put the same at the same moment
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _hidden(self, ending: str) -> Path:
        return self.root / f".softprompt-{uuid4().hex}{ending}"

    def _entries(self) -> list[Path]:
        return list(self.root.iterdir()) if self.root.is_dir() else []


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _size_of_own(path: Path) -> int | None:
    """A file's size in bytes; None of what no prompt has: a folder, a link, a file of another kind."""
    found = path.lstat()
    return found.st_size if stat.S_ISREG(found.st_mode) and path.suffix in _KINDS else None


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
