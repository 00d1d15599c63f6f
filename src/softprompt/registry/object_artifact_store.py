"""Artifact store in object storage such as S3, or any other file system of fsspec. An artifact is one object.

Object storage writes an object completely or not at all, so an artifact is complete even if its writer is killed. Only
names, times and contents of objects are used: neither locks nor renaming are needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from softprompt.errors import StoreError, summarize_error
from softprompt.registry.artifact_archive import pack_files, unpack_files
from softprompt.registry.artifact_store import DIGEST_PATTERN, OWNER_FILE, ArtifactInfo, ArtifactStore

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ARCHIVE_SUFFIX = ".zip"
_TRASH_FOLDER = "gone"  # holds the objects of artifacts in the trash
_TRASH_NAME_PATTERN = re.compile(rf"{DIGEST_PATTERN.pattern}\.[0-9a-f]{{32}}\{ARCHIVE_SUFFIX}")
_MODIFIED_TIME_FIELDS = ("LastModified", "created", "mtime")  # names of the modification time in fsspec's file systems


class ObjectArtifactStore(ArtifactStore):
    """Artifacts as objects under a common path.

    Args:
        display_name: URL of the artifact store.
        filesystem: file system with the objects. It must not cache listings, because other processes write too.
        root: path of the artifact store in the file system.
    """

    def __init__(self, display_name: str, filesystem: AbstractFileSystem, root: str):
        self.display_name, self._filesystem, self._root = display_name, filesystem, root

    def has_artifact(self, digest: str) -> bool:
        """Whether the artifact's object exists."""
        with self._translate_errors():
            return bool(self._filesystem.exists(self._artifact_path(digest)))

    def list_artifacts(self) -> Iterator[ArtifactInfo]:
        """List the objects whose names are digests."""
        now = datetime.now(UTC)
        for entry in self._list_entries(self._root):
            path = PurePosixPath(entry["name"])
            if path.suffix == ARCHIVE_SUFFIX and DIGEST_PATTERN.fullmatch(path.stem):
                yield ArtifactInfo(path.stem, now - self._get_modified_time(entry), int(entry["size"] or 0))

    def read_files(self, digest: str) -> dict[str, bytes]:
        """Read the files of an artifact. A corrupt object has no files."""
        with self._translate_errors():
            return unpack_files(self._filesystem.cat_file(self._artifact_path(digest)))

    def write_artifact(self, digest: str, files: Mapping[str, bytes]) -> None:
        """Write the files as one object, in one request."""
        if not self._has_same_files(digest, files):
            with self._translate_write_errors():
                self._filesystem.pipe_file(self._artifact_path(digest), pack_files(files))

    def trash_artifact(self, digest: str) -> str:
        """Move the artifact's object to the trash folder."""
        path = f"{self._root}/{_TRASH_FOLDER}/{digest}.{uuid4().hex}{ARCHIVE_SUFFIX}"
        with self._translate_write_errors():
            self._filesystem.cp_file(self._artifact_path(digest), path)
            self._filesystem.rm_file(self._artifact_path(digest))
        return path

    def restore_artifact(self, digest: str, trash_name: str) -> None:
        """Copy the object back. An object that was written meanwhile has the same content."""
        with self._translate_write_errors():
            self._filesystem.cp_file(trash_name, self._artifact_path(digest))

    def delete_trash(self, trash_names: Sequence[str]) -> None:
        """Delete objects from the trash, many per request if the storage supports this."""
        if trash_names:
            with self._translate_errors(), suppress(FileNotFoundError):  # another process empties the trash too
                self._filesystem.rm(list(trash_names))

    def remove_leftovers(self) -> None:
        """Delete the trash; a killed process leaves nothing else."""
        names = [str(entry["name"]) for entry in self._list_trash()]
        self.delete_trash([name for name in names if _TRASH_NAME_PATTERN.fullmatch(PurePosixPath(name).name)])

    def find_foreign_entry(self) -> str | None:
        """Return the first foreign name in alphabetical order, relative to the root, or None."""
        root = self._root.strip("/")
        entries = {
            path: entry for entry in self._list_entries(self._root) if (path := str(entry["name"]).strip("/")) != root
        }
        names = [PurePosixPath(path).name for path in sorted(entries) if not self._is_own_entry(entries[path])]
        trash_names = sorted(PurePosixPath(entry["name"]).name for entry in self._list_trash())
        names += [f"{_TRASH_FOLDER}/{name}" for name in trash_names if not _TRASH_NAME_PATTERN.fullmatch(name)]
        return next(iter(names), None)

    def read_owner(self) -> str | None:
        """Read the owner object."""
        with self._translate_errors(), suppress(FileNotFoundError):
            return bytes(self._filesystem.cat_file(f"{self._root}/{OWNER_FILE}")).decode("utf-8", "replace")
        return None

    def write_owner(self, registry_id: str) -> None:
        """Write the owner object."""
        with self._translate_write_errors():
            self._filesystem.pipe_file(f"{self._root}/{OWNER_FILE}", registry_id.encode())

    def _is_own_entry(self, entry: Mapping[str, Any]) -> bool:
        name = PurePosixPath(entry["name"])
        if entry["type"] == "directory":
            return name.name == _TRASH_FOLDER
        return name.name == OWNER_FILE or (
            name.suffix == ARCHIVE_SUFFIX and DIGEST_PATTERN.fullmatch(name.stem) is not None
        )

    def _list_trash(self) -> list[dict[str, Any]]:
        """List the objects in the trash. Some file systems list a folder among its own entries."""
        path = f"{self._root}/{_TRASH_FOLDER}"
        return [entry for entry in self._list_entries(path) if str(entry["name"]).strip("/") != path.strip("/")]

    def _artifact_path(self, digest: str) -> str:
        return f"{self._root}/{digest}{ARCHIVE_SUFFIX}"

    def _has_same_files(self, digest: str, files: Mapping[str, bytes]) -> bool:
        try:
            return self.read_files(digest) == files
        except FileNotFoundError:
            return False

    def _list_entries(self, path: str) -> list[dict[str, Any]]:
        with self._translate_errors(), suppress(FileNotFoundError):
            return list(self._filesystem.ls(path, detail=True))
        return []

    def _get_modified_time(self, entry: Mapping[str, Any]) -> datetime:
        """Return the time when an object was written, by the clock of the storage."""
        value = next((entry[name] for name in _MODIFIED_TIME_FIELDS if entry.get(name)), None)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        with self._translate_errors():
            time: datetime = value if isinstance(value, datetime) else self._filesystem.modified(entry["name"])
        return time if time.tzinfo else time.replace(tzinfo=UTC)

    @contextmanager
    def _translate_write_errors(self) -> Iterator[None]:
        """Translate errors of a write, in which "not found" means that the bucket is missing."""
        try:
            with self._translate_errors():
                yield
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.display_name} cannot be written ({summarize_error(error)}): create its bucket first"
            ) from error

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate errors of fsspec and its libraries into ones that name a remedy; `FileNotFoundError` passes."""
        try:
            yield
        except (StoreError, FileNotFoundError):
            raise
        except PermissionError as error:
            raise StoreError(
                f"{self.display_name} denies access ({summarize_error(error)}): check the credentials in the "
                "environment, which must permit to list, read, write and delete"
            ) from error
        except Exception as error:  # each library raises its own classes
            raise StoreError(
                f"{self.display_name} cannot be reached or returned an error ({summarize_error(error)}): check the "
                "network, the endpoint and the credentials in the environment"
            ) from error
