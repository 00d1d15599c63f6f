"""Interface of artifact stores, which keep the files of saved prompts by digest. An artifact is complete and immutable.

This interface knows nothing about prompts or references. `locations` chooses the implementation.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")
OWNER_FILE = "softprompt-store"  # names the registry that owns the artifact store

MAX_WRITE_DURATION = timedelta(hours=1)  # older temporary files were left by killed processes


@dataclass(frozen=True)
class ArtifactInfo:
    """An artifact in an artifact store.

    Attributes:
        digest: digest of the artifact.
        age: time since the artifact was written.
        size_bytes: size of the artifact, in bytes.
    """

    digest: str
    age: timedelta
    size_bytes: int


class ArtifactStore(ABC):
    """An artifact store. Threads may share it; a forked process must open its own.

    Attributes:
        display_name: location of the artifact store, for messages.
    """

    display_name: str

    @abstractmethod
    def has_artifact(self, digest: str) -> bool:
        """Whether the artifact store contains an artifact with this digest."""

    @abstractmethod
    def list_artifacts(self) -> Iterable[ArtifactInfo]:
        """List all artifacts, in no particular order."""

    @abstractmethod
    def read_files(self, digest: str) -> dict[str, bytes]:
        """Read the files of an artifact. Entries that are not files are ignored.

        Raises:
            FileNotFoundError: the artifact does not exist.
            OSError: the artifact exists but cannot be read.
            StoreError: the artifact store cannot be reached.
        """

    @abstractmethod
    def write_artifact(self, digest: str, files: Mapping[str, bytes]) -> None:
        """Write the files of an artifact durably, replacing a corrupt copy. On return they survive a power failure.

        Raises:
            DiskFull, SettingError, StoreError: the artifact cannot be written; nothing was changed.
        """

    @abstractmethod
    def trash_artifact(self, digest: str) -> str:
        """Move an artifact to the trash and return its trash name, for `delete_trash` or `restore_artifact`."""

    @abstractmethod
    def restore_artifact(self, digest: str, trash_name: str) -> None:
        """Restore an artifact from the trash, unless the same artifact was written meanwhile."""

    @abstractmethod
    def delete_trash(self, trash_names: Sequence[str]) -> None:
        """Delete artifacts from the trash by their trash names."""

    @abstractmethod
    def remove_leftovers(self) -> None:
        """Delete the trash and temporary files of killed processes. Entries with other names are never deleted."""

    @abstractmethod
    def find_foreign_entry(self) -> str | None:
        """Return the name of an entry that no registry writes, or None.

        Raises:
            StoreError: the artifact store cannot be reached.
        """

    @abstractmethod
    def read_owner(self) -> str | None:
        """Return the id of the registry that owns the artifact store, or None.

        Raises:
            StoreError: the artifact store cannot be reached.
        """

    @abstractmethod
    def write_owner(self, registry_id: str) -> None:
        """Write the id of the registry that owns the artifact store.

        Raises:
            DiskFull, SettingError, StoreError: the artifact store cannot be written.
        """
