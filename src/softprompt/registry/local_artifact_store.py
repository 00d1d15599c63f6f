"""Artifact store in a local folder. Artifacts are written under a temporary name, flushed, and renamed."""

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

from softprompt.atomic import atomic_write_file, replace_folder
from softprompt.errors import translate_os_errors
from softprompt.registry.artifact_store import (
    DIGEST_PATTERN,
    MAX_WRITE_DURATION,
    OWNER_FILE,
    ArtifactInfo,
    ArtifactStore,
)

_TRASH_SUFFIX, _TEMPORARY_SUFFIX = ".gone", ".tmp"  # of artifacts in the trash, and of those being written
_TEMPORARY_NAME_PATTERN = re.compile(rf"\.(?:softprompt-|{OWNER_FILE}\.)[0-9a-f]{{32}}\.(?:tmp|old|gone)")
_PROMPT_FILE_SUFFIXES = (".json", ".safetensors")  # a folder with other files is not an artifact
_FILESYSTEM_FOLDER = "lost+found"  # some file systems have this folder in their root


class LocalArtifactStore(ArtifactStore):
    """Artifacts as subfolders of a folder.

    Args:
        root: the folder; it is created when the first artifact is written.
    """

    def __init__(self, root: Path):
        self.root, self.display_name = root, str(root)

    def has_artifact(self, digest: str) -> bool:
        """Whether the artifact's folder exists."""
        return (self.root / digest).is_dir()

    def list_artifacts(self) -> Iterator[ArtifactInfo]:
        """List the folders that contain nothing but a prompt's files. Folders deleted meanwhile are skipped."""
        for path in self._list_entries():
            if DIGEST_PATTERN.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                with suppress(FileNotFoundError):
                    sizes = [_get_prompt_file_size(file) for file in path.iterdir()]
                    if None not in sizes:
                        yield ArtifactInfo(path.name, _get_age(path), sum(filter(None, sizes)))

    def read_files(self, digest: str) -> dict[str, bytes]:
        """Read the files of an artifact."""
        return {p.name: p.read_bytes() if p.is_file() else b"" for p in (self.root / digest).iterdir()}

    def write_artifact(self, digest: str, files: Mapping[str, bytes]) -> None:
        """Write the files and flush them to the disk."""
        with translate_os_errors(self.root):
            if not self._has_same_files(digest, files):
                self._write_files(digest, files)
            for folder in (self.root, self.root.parent):  # also for an artifact that another process has just written
                _fsync_folder(folder)

    def trash_artifact(self, digest: str) -> str:
        """Rename the artifact's folder to a trash name."""
        with translate_os_errors(self.root):
            return (self.root / digest).rename(self._temporary_path(_TRASH_SUFFIX)).name

    def restore_artifact(self, digest: str, trash_name: str) -> None:
        """Rename the folder back."""
        with suppress(OSError):  # the same artifact exists again, or another process has emptied the trash
            (self.root / trash_name).rename(self.root / digest)

    def delete_trash(self, trash_names: Sequence[str]) -> None:
        """Delete folders from the trash."""
        for name in trash_names:
            _delete_path(self.root / name)

    def remove_leftovers(self) -> None:
        """Delete the trash and old temporary files."""
        with translate_os_errors(self.root):
            for path in self._list_entries():
                with suppress(FileNotFoundError):  # another process deletes or renames entries too
                    if (
                        _TEMPORARY_NAME_PATTERN.fullmatch(path.name)
                        and not path.is_symlink()
                        and (path.suffix == _TRASH_SUFFIX or _get_age(path) > MAX_WRITE_DURATION)
                    ):
                        _delete_path(path)

    def find_foreign_entry(self) -> str | None:
        """Return the first foreign name in alphabetical order, or None."""
        with translate_os_errors(self.root):
            names = sorted(path.name for path in self._list_entries())
        return next((name for name in names if not _is_own_name(name)), None)

    def read_owner(self) -> str | None:
        """Read the owner file."""
        with translate_os_errors(self.root):
            file = self.root / OWNER_FILE
            return file.read_text("utf-8") if file.is_file() else None

    def write_owner(self, registry_id: str) -> None:
        """Write the owner file."""
        with translate_os_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            atomic_write_file(self.root / OWNER_FILE, registry_id.encode())

    def _has_same_files(self, digest: str, files: Mapping[str, bytes]) -> bool:
        try:
            return self.read_files(digest) == files
        except OSError:
            return False

    def _write_files(self, digest: str, files: Mapping[str, bytes]) -> None:
        temporary = self._temporary_path(_TEMPORARY_SUFFIX)
        try:
            temporary.mkdir(parents=True)
            for name, content in files.items():
                atomic_write_file(temporary / name, content)
            _fsync_folder(temporary)
            try:
                replace_folder(temporary, self.root / digest)
            except OSError:
                if not self._has_same_files(digest, files):  # unless another process has just written the same
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _temporary_path(self, suffix: str) -> Path:
        return self.root / f".softprompt-{uuid4().hex}{suffix}"

    def _list_entries(self) -> list[Path]:
        return list(self.root.iterdir()) if self.root.is_dir() else []


def _is_own_name(name: str) -> bool:
    """Whether a registry or the file system could have made an entry of this name."""
    return (
        name in (OWNER_FILE, _FILESYSTEM_FOLDER)
        or DIGEST_PATTERN.fullmatch(name) is not None
        or _TEMPORARY_NAME_PATTERN.fullmatch(name) is not None
    )


def _delete_path(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _get_prompt_file_size(path: Path) -> int | None:
    """Return a file's size in bytes; None for entries that no prompt has: folders, links and files of other kinds."""
    status = path.lstat()
    return status.st_size if stat.S_ISREG(status.st_mode) and path.suffix in _PROMPT_FILE_SUFFIXES else None


def _get_age(path: Path) -> timedelta:
    return timedelta(seconds=time.time() - path.stat().st_mtime)


def _fsync_folder(folder: Path) -> None:
    """Flush a folder's list of entries to the disk."""
    if sys.platform == "win32":  # Windows cannot flush folders and does not need it
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
