"""Where saved prompts lie: folders of files by their content hash. One is there whole or not at all, and never changes.

It knows nothing of prompts: not what the files are, nor who needs them. `places` chooses the kind.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

HASH = re.compile(r"[0-9a-f]{64}")
OWNER = "softprompt-store"  # the file that names the store that a place is of

LONGEST_WRITE = timedelta(hours=1)  # what takes longer was left by a killed process


@dataclass(frozen=True)
class Kept:
    """A folder that is there.

    Attributes:
        content: its hash.
        age: for how long it has been there.
        size: bytes that it takes.
    """

    content: str
    age: timedelta
    size: int


class Folders(ABC):
    """A place for folders, of one kind. Threads may share it; a process that was forked has its own.

    Attributes:
        name: where it is, as people read it.
    """

    name: str

    @abstractmethod
    def holds(self, content: str) -> bool:
        """Whether there is a folder with this hash."""

    @abstractmethod
    def listed(self) -> Iterable[Kept]:
        """All folders, in no order."""

    @abstractmethod
    def files(self, content: str) -> dict[str, bytes]:
        """A folder's files; what else is in it has no content here.

        Raises:
            FileNotFoundError: there is no such folder.
            OSError: it cannot be read, though it is there.
            StoreError: the place does not answer.
        """

    @abstractmethod
    def put(self, content: str, files: Mapping[str, bytes]) -> None:
        """Keep files. Once this returns they outlive a power failure; a folder that was damaged is mended.

        Raises:
            DiskFull, SettingError, StoreError: nothing was changed.
        """

    @abstractmethod
    def hide(self, content: str) -> str:
        """Take a folder away at once, to be deleted by `delete`, or else by `sweep`; tells where to."""

    @abstractmethod
    def restore(self, content: str, hidden: str) -> None:
        """Put back a folder that `hide` took away, unless the same was put there meanwhile."""

    @abstractmethod
    def delete(self, hidden: Sequence[str]) -> None:
        """Delete what `hide` took away, by the names that it told."""

    @abstractmethod
    def sweep(self) -> None:
        """Delete what was hidden, and what killed processes left; by their names, and nothing that has another."""

    @abstractmethod
    def foreign(self) -> str | None:
        """The name of something that lies there and is named as nothing of a store's is; None where nothing does.

        Raises:
            StoreError: the place does not answer.
        """

    @abstractmethod
    def owner(self) -> str | None:
        """Which store has taken the place for its own; None where none has.

        Raises:
            StoreError: the place does not answer.
        """

    @abstractmethod
    def take(self, owner: str) -> None:
        """Take the place for a store's own.

        Raises:
            DiskFull, SettingError, StoreError: it cannot be written.
        """
