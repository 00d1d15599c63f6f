"""Folders in a store of objects such as S3, or wherever else fsspec reaches: each is one object.

An object is there whole or not at all, so a folder is, whoever is killed. Nothing but names of objects, their times and
their bytes is asked of the place: it needs no locks, and no renaming.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from softprompt.errors import StoreError, first_line
from softprompt.store.folders import HASH, OWNER, Folders, Kept
from softprompt.store.packing import pack, unpack

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ENDING = ".zip"
_GONE = "gone"  # where objects go that nobody needs
_HIDDEN = re.compile(rf"{HASH.pattern}\.[0-9a-f]{{32}}\{ENDING}")
_TIMES = ("LastModified", "created", "mtime")  # what file systems call the time when an object was written


class ObjectFolders(Folders):
    """Objects side by side.

    Args:
        name: the place's URL.
        files: the file system that it is in. It must remember nothing of what it has listed: others write too.
        root: the path there.
    """

    def __init__(self, name: str, files: AbstractFileSystem, root: str):
        self.name, self._files, self._root = name, files, root

    def holds(self, content: str) -> bool:
        """Whether there is an object."""
        with self._explained():
            return bool(self._files.exists(self._path(content)))

    def listed(self) -> Iterator[Kept]:
        """All objects that are named as a folder's is."""
        now = datetime.now(UTC)
        for each in self._entries(self._root):
            name = PurePosixPath(each["name"])
            if name.suffix == ENDING and HASH.fullmatch(name.stem):
                yield Kept(name.stem, now - self._written(each), int(each["size"] or 0))

    def files(self, content: str) -> dict[str, bytes]:
        """An object's files; none where it is not what was put."""
        with self._explained():
            return unpack(self._files.cat_file(self._path(content)))

    def put(self, content: str, files: Mapping[str, bytes]) -> None:
        """Keep files, in one request."""
        if not self._has(content, files):
            with self._written_to():
                self._files.pipe_file(self._path(content), pack(files))

    def hide(self, content: str) -> str:
        """Move an object to where nobody looks for it."""
        path = f"{self._root}/{_GONE}/{content}.{uuid4().hex}{ENDING}"
        with self._written_to():
            self._files.cp_file(self._path(content), path)
            self._files.rm_file(self._path(content))
        return path

    def restore(self, content: str, hidden: str) -> None:
        """Copy an object back. What was put meanwhile is the same."""
        with self._written_to():
            self._files.cp_file(hidden, self._path(content))

    def delete(self, hidden: Sequence[str]) -> None:
        """Delete what was hidden, many in a request where the place takes many."""
        if hidden:
            with self._explained(), suppress(FileNotFoundError):  # another one sweeps too
                self._files.rm(list(hidden))

    def sweep(self) -> None:
        """Delete what was hidden; a killed process leaves nothing else."""
        self.delete([each["name"] for each in self._gone() if _HIDDEN.fullmatch(PurePosixPath(each["name"]).name)])

    def foreign(self) -> str | None:
        """The first in alphabetical order, below the place's own path."""
        root = self._root.strip("/")
        beside = {name: each for each in self._entries(self._root) if (name := str(each["name"]).strip("/")) != root}
        names = [PurePosixPath(name).name for name in sorted(beside) if not self._is_own(beside[name])]
        hidden = sorted(PurePosixPath(each["name"]).name for each in self._gone())
        names += [f"{_GONE}/{name}" for name in hidden if not _HIDDEN.fullmatch(name)]
        return next(iter(names), None)

    def owner(self) -> str | None:
        """What stands in the object for it."""
        with self._explained(), suppress(FileNotFoundError):
            return bytes(self._files.cat_file(f"{self._root}/{OWNER}")).decode("utf-8", "replace")
        return None

    def take(self, owner: str) -> None:
        """Write it into the object."""
        with self._written_to():
            self._files.pipe_file(f"{self._root}/{OWNER}", owner.encode())

    def _is_own(self, entry: Mapping[str, Any]) -> bool:
        name = PurePosixPath(entry["name"])
        if entry["type"] == "directory":
            return name.name == _GONE
        return name.name == OWNER or (name.suffix == ENDING and HASH.fullmatch(name.stem) is not None)

    def _gone(self) -> list[dict[str, Any]]:
        """What was hidden. Some places list a folder among what is in it."""
        path = f"{self._root}/{_GONE}"
        return [each for each in self._entries(path) if str(each["name"]).strip("/") != path.strip("/")]

    def _path(self, content: str) -> str:
        return f"{self._root}/{content}{ENDING}"

    def _has(self, content: str, files: Mapping[str, bytes]) -> bool:
        try:
            return self.files(content) == files
        except FileNotFoundError:
            return False

    def _entries(self, path: str) -> list[dict[str, Any]]:
        with self._explained(), suppress(FileNotFoundError):
            return list(self._files.ls(path, detail=True))
        return []

    def _written(self, entry: Mapping[str, Any]) -> datetime:
        """When an object was written, by the place's own clock."""
        found = next((entry[name] for name in _TIMES if entry.get(name)), None)
        if isinstance(found, int | float):
            return datetime.fromtimestamp(found, UTC)
        with self._explained():
            when: datetime = found if isinstance(found, datetime) else self._files.modified(entry["name"])
        return when if when.tzinfo else when.replace(tzinfo=UTC)

    @contextmanager
    def _written_to(self) -> Iterator[None]:
        """What is missing when something is written is the place itself."""
        try:
            with self._explained():
                yield
        except FileNotFoundError as error:
            raise StoreError(f"{self.name} cannot be written ({first_line(error)}): make its bucket first") from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what fsspec and the libraries behind it raise into what says what to do; `FileNotFoundError` stays."""
        try:
            yield
        except (StoreError, FileNotFoundError):
            raise
        except PermissionError as error:
            raise StoreError(
                f"{self.name} does not allow it ({first_line(error)}): see to the credentials in the environment, "
                "which must let it list, read, write and delete there"
            ) from error
        except Exception as error:  # each library has its own
            raise StoreError(
                f"{self.name} cannot be reached or does not answer as it should ({first_line(error)}): see to the "
                "network, and to the endpoint and the credentials in the environment"
            ) from error
