"""Delete the folders that no version needs: those of removed versions, and what killed processes left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from softprompt.store.database import Database
from softprompt.store.folders import Folders
from softprompt.store.tables import EventRow, VersionRow, now

GRACE = timedelta(hours=1)


@dataclass(frozen=True)
class Collected:
    """What went.

    Attributes:
        contents: the hashes of the folders.
        size: of their files, in bytes.
    """

    contents: tuple[str, ...]
    size: int


def collect(database: Database, folders: Folders, grace: timedelta, by: str) -> Collected:
    """Delete the folders that no version has named for the time `grace`.

    Who is about to add one of them looks, in their own transaction, whether it is still there. So in this one they
    only change their names, and are deleted behind it.
    """
    with database.writing() as session:
        needed = _needed(session, grace)
        unneeded = sorted(c for c in folders.hashes() if c not in needed and folders.age(c) >= grace)
        size = sum(len(file) for content in unneeded for file in folders.files(content).values())
        for content in unneeded:
            folders.hide(content)
        if unneeded:
            session.add(EventRow(at=now(), by=by, what="collect", details={"contents": unneeded, "size": size}))
    folders.sweep()
    return Collected(tuple(unneeded), size)


def _needed(session: Session, grace: timedelta) -> set[str]:
    """What versions name, or did a short while ago: a request may have begun on them."""
    late = or_(VersionRow.removed_at.is_(None), VersionRow.removed_at > now() - grace)
    return set(session.scalars(select(VersionRow.content).where(late).distinct()))
