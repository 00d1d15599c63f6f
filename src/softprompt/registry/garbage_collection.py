"""Garbage collection: delete artifacts of removed versions, and files that killed processes left.

Unreferenced artifacts are searched without a lock and deleted in batches. A writer waits for one batch at most.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from softprompt.registry.artifact_store import ArtifactInfo, ArtifactStore
from softprompt.registry.database import RegistryDatabase
from softprompt.registry.database_tables import AuditEventRow, VersionRow, utc_now
from softprompt.registry.progress_callback import ProgressCallback, ignore_progress

GRACE_PERIOD = timedelta(hours=1)
BATCH_SIZE = 100  # largest number of artifacts that one transaction moves to the trash
MAX_TRANSACTION_S = 0.25  # a transaction moves no more artifacts after this time: remote storage is slow for each one


@dataclass(frozen=True)
class GarbageReport:
    """The result of a garbage collection.

    Attributes:
        digests: digests of the deleted artifacts.
        size_bytes: size of the deleted files, in bytes.
    """

    digests: tuple[str, ...]
    size_bytes: int


def collect_garbage(
    database: RegistryDatabase,
    artifacts: ArtifactStore,
    grace_period: timedelta,
    actor: str,
    on_progress: ProgressCallback = ignore_progress,
) -> GarbageReport:
    """Delete artifacts that no version has referenced for the grace period.

    A process that registers one of them checks in its own transaction that the artifact still exists. The transaction
    here therefore only moves artifacts to the trash; they are deleted after it.

    Args:
        database: database of the registry.
        artifacts: artifact store of the registry.
        grace_period: minimum time since the last reference.
        actor: name for the audit log.
        on_progress: called with the number of checked artifacts and of all that may be deleted.
    """
    unreferenced = sorted(_find_unreferenced(database, artifacts, grace_period), key=lambda artifact: artifact.digest)
    num_done, deleted = 0, list[ArtifactInfo]()
    on_progress(0, len(unreferenced))
    while batch := unreferenced[num_done : num_done + BATCH_SIZE]:
        trashed, num_checked = _trash_batch(database, artifacts, batch, grace_period, actor)
        artifacts.delete_trash(list(trashed.values()))
        deleted += trashed
        num_done += num_checked
        on_progress(num_done, len(unreferenced))
    artifacts.remove_leftovers()
    return GarbageReport(tuple(info.digest for info in deleted), sum(info.size_bytes for info in deleted))


def _find_unreferenced(
    database: RegistryDatabase, artifacts: ArtifactStore, grace_period: timedelta
) -> Iterator[ArtifactInfo]:
    """Iterate over artifacts that seem unreferenced. References may be added meanwhile: check again before deleting."""
    old_artifacts = (artifact for artifact in artifacts.list_artifacts() if artifact.age >= grace_period)
    while batch := list(islice(old_artifacts, BATCH_SIZE)):
        with database.read_session() as session:
            referenced = _find_referenced(session, batch, grace_period)
        yield from (artifact for artifact in batch if artifact.digest not in referenced)


def _trash_batch(
    database: RegistryDatabase,
    artifacts: ArtifactStore,
    batch: Sequence[ArtifactInfo],
    grace_period: timedelta,
    actor: str,
) -> tuple[dict[ArtifactInfo, str], int]:
    """Move the unreferenced artifacts of a batch to the trash, in one transaction, and restore them if it fails.

    They are restored because a failed transaction may have lost its lock before, so that another process could
    reference one of them again.

    Returns:
        The trash name of each moved artifact, and the number of checked artifacts: at least one, in their order.
    """
    trashed: dict[ArtifactInfo, str] = {}
    num_checked = 0
    try:
        with database.write_session() as session:
            deadline, referenced = time.monotonic() + MAX_TRANSACTION_S, _find_referenced(session, batch, grace_period)
            while num_checked < len(batch) and (num_checked == 0 or time.monotonic() < deadline):
                artifact = batch[num_checked]
                num_checked += 1
                if artifact.digest not in referenced and artifacts.has_artifact(artifact.digest):
                    trashed[artifact] = artifacts.trash_artifact(artifact.digest)
            if trashed:
                details = {
                    "contents": [artifact.digest for artifact in trashed],
                    "size": sum(artifact.size_bytes for artifact in trashed),
                }
                session.add(AuditEventRow(timestamp=utc_now(), actor=actor, action="collect", details=details))
    except BaseException:
        for artifact, trash_name in trashed.items():
            artifacts.restore_artifact(artifact.digest, trash_name)
        raise
    return trashed, num_checked


def _find_referenced(session: Session, batch: Sequence[ArtifactInfo], grace_period: timedelta) -> set[str]:
    """Return the digests that versions reference, or did within the grace period: requests may still use them."""
    query = select(VersionRow.digest).where(VersionRow.digest.in_([info.digest for info in batch])).distinct()
    is_present, is_recent = VersionRow.removed_at.is_(None), VersionRow.removed_at > utc_now() - grace_period
    return set(session.scalars(query.where(is_present))) | set(session.scalars(query.where(is_recent)))
