"""Delete the folders that no version needs: those of removed versions, and what killed processes left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from softprompt.store.database import Database
from softprompt.store.folders import Folders, Kept
from softprompt.store.tables import EventRow, VersionRow, now

GRACE = timedelta(hours=1)
AT_ONCE = 100  # folders that are hidden in one transaction: whoever adds waits for it


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
    old = sorted((kept for kept in folders.listed() if kept.age >= grace), key=lambda kept: kept.content)
    gone: list[Kept] = []
    for start in range(0, len(old), AT_ONCE):
        gone += _hide(database, folders, old[start : start + AT_ONCE], grace, by)
    folders.sweep()
    return Collected(tuple(kept.content for kept in gone), sum(kept.size for kept in gone))


def _hide(database: Database, folders: Folders, old: Sequence[Kept], grace: timedelta, by: str) -> list[Kept]:
    """Hide those that nobody needs, in a transaction; where that does not end well, they come back.

    For then this process may have had no transaction any more, and somebody may have come to need one of them.
    """
    hidden: dict[Kept, str] = {}
    try:
        with database.writing() as session:
            needed = _needed(session, grace)
            for kept in old:
                if kept.content not in needed and folders.holds(kept.content):
                    hidden[kept] = folders.hide(kept.content)
            if hidden:
                details = {"contents": [kept.content for kept in hidden], "size": sum(kept.size for kept in hidden)}
                session.add(EventRow(at=now(), by=by, what="collect", details=details))
    except BaseException:
        for kept, where in hidden.items():
            folders.restore(kept.content, where)
        raise
    return list(hidden)


def _needed(session: Session, grace: timedelta) -> set[str]:
    """What versions name, or did a short while ago: a request may have begun on them."""
    late = or_(VersionRow.removed_at.is_(None), VersionRow.removed_at > now() - grace)
    return set(session.scalars(select(VersionRow.content).where(late).distinct()))
