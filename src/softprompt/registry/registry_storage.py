"""The two parts of a registry, a database and an artifact store: opened together, or created."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from softprompt.errors import SettingError, StoreError
from softprompt.registry.artifact_ownership import check_ownership, claim_ownership
from softprompt.registry.artifact_store import ArtifactStore
from softprompt.registry.database import RegistryDatabase
from softprompt.registry.database_backend import DatabaseBackend
from softprompt.registry.database_tables import SCHEMA_VERSION, RegistryRow
from softprompt.registry.locations import normalize_location, resolve_artifact_store, resolve_database_backend


@dataclass(frozen=True)
class RegistryStorage:
    """The open parts of a registry.

    Attributes:
        database: metadata and audit log.
        artifacts: saved prompts by their digests.
        owner_id: id of the registry, as in the owner file of the artifact store; None for the default artifact store,
            which has no owner file.
    """

    database: RegistryDatabase
    artifacts: ArtifactStore
    owner_id: str | None

    @classmethod
    def open(
        cls, location: str | Path, *, create: bool = False, artifact_location: str | Path | None = None
    ) -> RegistryStorage:
        """Open the parts of the registry at a location. Arguments and errors are those of `PromptRegistry.open`."""
        backend = resolve_database_backend(location)
        requested_location = None if artifact_location is None else normalize_location(artifact_location)
        if not create:
            backend.check_exists()
        database = RegistryDatabase(backend)
        try:
            if create:
                database.create_tables(lambda: _make_registry_row(backend, requested_location))
            row = database.open_registry()
            artifacts = _resolve_artifacts(backend, row, requested_location)
            if create and row.artifact_location:
                claim_ownership(artifacts, row.registry_id)
        except BaseException:
            database.close()
            raise
        return cls(database, artifacts, row.registry_id if row.artifact_location else None)

    def check_ownership(self) -> None:
        """Check that the artifact store belongs to this registry, before anything is deleted there.

        Raises:
            StoreError: the artifact store belongs to another registry.
        """
        if self.owner_id:
            check_ownership(self.artifacts, self.owner_id)


def _make_registry_row(backend: DatabaseBackend, artifact_location: str | None) -> RegistryRow:
    """Make the row that describes a new registry, and claim its artifact location."""
    row = RegistryRow(id=1, schema_version=SCHEMA_VERSION, registry_id=uuid4().hex, artifact_location=artifact_location)
    if artifact_location is not None:
        claim_ownership(resolve_artifact_store(artifact_location), row.registry_id)
    elif backend.default_artifact_path is None:
        raise SettingError(
            f"a registry at {backend.display_name} needs a location for its artifacts: set `artifact_location` to "
            "s3://bucket/prefix or to a folder that all of its clients share"
        )
    return row


def _resolve_artifacts(backend: DatabaseBackend, row: RegistryRow, requested_location: str | None) -> ArtifactStore:
    """Return the artifact store of a registry, which must be at the requested location, if there is one."""
    location = row.artifact_location or backend.default_artifact_path
    if requested_location not in (None, row.artifact_location):
        raise SettingError(
            f"the artifact location of {backend.display_name} is {location} and cannot be changed: "
            "leave `artifact_location` out"
        )
    if location is None:
        raise StoreError(f"{backend.display_name} does not contain its artifact location: restore it from a backup")
    return resolve_artifact_store(location)
