"""Ownership of artifact stores: one registry each, or garbage collection would delete the artifacts of the other.

An owner file in the artifact store names the registry. The default artifact store in a registry folder needs none.
"""

from __future__ import annotations

from softprompt.errors import OutputExists, StoreError
from softprompt.registry.artifact_store import OWNER_FILE, ArtifactStore


def claim_ownership(artifacts: ArtifactStore, registry_id: str) -> None:
    """Claim an artifact store for a registry.

    An artifact store without artifacts may have the owner file of a registry whose creation failed.

    Raises:
        OutputExists: the artifact store has artifacts of another registry, or contains other files.
        DiskFull, SettingError, StoreError: the artifact store cannot be read or written.
    """
    if artifacts.read_owner() == registry_id:
        return
    if next(iter(artifacts.list_artifacts()), None) is not None:
        raise OutputExists(
            f"{artifacts.display_name} contains the artifacts of another registry: choose another `artifact_location`"
        )
    if (name := artifacts.find_foreign_entry()) is not None:
        raise OutputExists(
            f"{artifacts.display_name} contains {name}, which is not an artifact: choose an empty `artifact_location`"
        )
    artifacts.write_owner(registry_id)


def check_ownership(artifacts: ArtifactStore, registry_id: str) -> None:
    """Check that an artifact store belongs to a registry, before anything is deleted there.

    Raises:
        StoreError: the artifact store belongs to another registry.
    """
    if (owner := artifacts.read_owner()) != registry_id:
        raise StoreError(
            f"{artifacts.display_name} belongs to another registry (its file {OWNER_FILE} says {owner or 'nothing'}, "
            f"not {registry_id}); nothing was deleted"
        )
