"""Integrity check: read and hash every referenced artifact, and report what is corrupt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from softprompt.errors import CorruptPrompt, SavedPromptError, summarize_error
from softprompt.registry.artifact_store import ArtifactStore
from softprompt.registry.database import RegistryDatabase
from softprompt.registry.database_tables import VersionRow
from softprompt.registry.progress_callback import ProgressCallback, ignore_progress
from softprompt.registry.prompt_queries import fetch_versions_by_digest
from softprompt.registry.prompt_version import PromptVersion

if TYPE_CHECKING:
    from softprompt.saved import SavedPrompt
    from softprompt.saved.manifest import Manifest


@dataclass(frozen=True)
class CorruptArtifact:
    """An artifact that is missing or differs from its digest.

    Attributes:
        digest: digest of the artifact.
        problem: description of the damage.
        versions: versions that reference the artifact, of all tenants.
    """

    digest: str
    problem: str
    versions: tuple[PromptVersion, ...]


@dataclass(frozen=True)
class IntegrityReport:
    """The result of an integrity check.

    Attributes:
        num_referenced: number of artifacts that versions reference.
        corrupt_artifacts: referenced artifacts that are missing or corrupt.
        num_unreferenced: number of artifacts that no version references; garbage collection deletes them.
        database_problem: description of damage to the database, or None.
    """

    num_referenced: int
    corrupt_artifacts: tuple[CorruptArtifact, ...]
    num_unreferenced: int
    database_problem: str | None

    @property
    def is_intact(self) -> bool:
        """Whether artifacts and database are undamaged."""
        return not self.corrupt_artifacts and self.database_problem is None


def verify_integrity(
    database: RegistryDatabase,
    artifacts: ArtifactStore,
    on_progress: ProgressCallback = ignore_progress,
) -> IntegrityReport:
    """Read and hash all referenced artifacts.

    Args:
        database: database of the registry.
        artifacts: artifact store of the registry.
        on_progress: called with the number of checked artifacts and of all that versions reference.
    """
    with database.read_session() as session:
        digests = session.scalars(select(VersionRow.digest).where(VersionRow.removed_at.is_(None)).distinct()).all()
    on_progress(0, len(digests))
    corrupt_artifacts = list[CorruptArtifact]()
    for num_checked, digest in enumerate(sorted(digests), 1):
        if (corrupt_artifact := _find_corruption(database, artifacts, digest)) is not None:
            corrupt_artifacts.append(corrupt_artifact)
        on_progress(num_checked, len(digests))
    unreferenced = {artifact.digest for artifact in artifacts.list_artifacts()} - set(digests)
    return IntegrityReport(len(digests), tuple(corrupt_artifacts), len(unreferenced), database.find_corruption())


def load_prompt_artifact(artifacts: ArtifactStore, digest: str) -> SavedPrompt:
    """Load the saved prompt with a digest and check its content.

    Raises:
        CorruptPrompt: the artifact is missing or was changed.
        StoreError: the artifact store cannot be reached.
    """
    from softprompt.saved import SavedPrompt  # imports torch, which other operations do not need

    with _report_corruption(artifacts, digest):
        files = artifacts.read_files(digest)
        prompt = SavedPrompt.from_files(files, Path(digest))
        _check_unchanged(prompt.manifest, digest, is_same=prompt.files == files)
    return prompt


def load_prompt_manifest(artifacts: ArtifactStore, digest: str) -> Manifest:
    """Load the manifest of the saved prompt with a digest, and check the hash of its tensors without parsing them.

    Raises:
        CorruptPrompt: the artifact is missing or was changed.
        StoreError: the artifact store cannot be reached.
    """
    from softprompt.saved.manifest import MANIFEST_FILE, Manifest
    from softprompt.saved.payload_files import check_tensor_hash

    with _report_corruption(artifacts, digest):
        files = artifacts.read_files(digest)
        manifest = Manifest.from_bytes(files.get(MANIFEST_FILE, b""), Path(digest))
        check_tensor_hash(files, manifest, Path(digest))
        _check_unchanged(manifest, digest)
    return manifest


@contextmanager
def _report_corruption(artifacts: ArtifactStore, digest: str) -> Iterator[None]:
    """Raise CorruptPrompt with the store's name for an artifact that is missing, unreadable or damaged."""
    try:
        yield
    except FileNotFoundError as error:
        raise _make_corrupt_error(artifacts, f"{digest} is missing ({summarize_error(error)})") from error
    except OSError as error:
        raise _make_corrupt_error(artifacts, f"{digest} cannot be read ({summarize_error(error)})") from error
    except SavedPromptError as error:
        raise _make_corrupt_error(artifacts, str(error)) from error


def _check_unchanged(manifest: Manifest, digest: str, *, is_same: bool = True) -> None:
    if manifest.content_hash != f"sha256:{digest}" or not is_same:
        raise CorruptPrompt(f"{digest} was changed after it was written")


def _make_corrupt_error(artifacts: ArtifactStore, problem: str) -> CorruptPrompt:
    return CorruptPrompt(f"in {artifacts.display_name}: {problem}; to repair it, add the same prompt again")


def _find_corruption(database: RegistryDatabase, artifacts: ArtifactStore, digest: str) -> CorruptArtifact | None:
    try:
        load_prompt_artifact(artifacts, digest)
    except CorruptPrompt as error:
        with database.read_session() as session:
            versions = tuple(row.to_prompt_version() for row in fetch_versions_by_digest(session, digest))
        # None: the version was removed and its artifact collected since the digests were listed.
        return CorruptArtifact(digest, str(error), versions) if versions else None
    return None
