"""Delete the folders that no version needs: those of removed versions, and what killed processes left.

What there is to delete is found without a lock. Then it goes in batches: those who write wait for one batch at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from softprompt.store.database import Database
from softprompt.store.folders import Folders, Kept
from softprompt.store.tables import EventRow, VersionRow, now

GRACE = timedelta(hours=1)
AT_ONCE = 100  # folders that are hidden in one transaction at most
LONGEST = 0.25  # seconds after which a transaction hides no more: a place across a network takes long for each

Tracked = Callable[[Sequence[Kept]], Iterable[Kept]]
"""Goes through what is to be deleted, and may tell how far it has come."""


@dataclass(frozen=True)
class Collected:
    """What went.

    Attributes:
        contents: the hashes of the folders.
        size: of their files, in bytes.
    """

    contents: tuple[str, ...]
    size: int


def collect(database: Database, folders: Folders, grace: timedelta, by: str, tracked: Tracked = iter) -> Collected:
    """Delete the folders that no version has named for the time `grace`.

    Who is about to add one of them looks, in their own transaction, whether it is still there. So in this one they
    only change their names, and are deleted behind it.
    """
    unneeded = sorted(_find_unneeded(database, folders, grace), key=lambda kept: kept.content)
    left, gone = iter(tracked(unneeded)), list[Kept]()
    while batch := list(islice(left, AT_ONCE)):
        while batch:
            hidden, batch = _hide(database, folders, batch, grace, by)
            folders.delete(list(hidden.values()))
            gone += hidden
    folders.sweep()
    return Collected(tuple(kept.content for kept in gone), sum(kept.size for kept in gone))


def _find_unneeded(database: Database, folders: Folders, grace: timedelta) -> Iterator[Kept]:
    """What nobody seems to need. Somebody may come to need it a moment later: whoever deletes it looks again."""
    old = (kept for kept in folders.listed() if kept.age >= grace)
    while batch := list(islice(old, AT_ONCE)):
        with database.reading() as session:
            needed = _needed(session, batch, grace)
        yield from (kept for kept in batch if kept.content not in needed)


def _hide(
    database: Database, folders: Folders, batch: Sequence[Kept], grace: timedelta, by: str
) -> tuple[dict[Kept, str], list[Kept]]:
    """Hide those that nobody needs, in a transaction; where that does not end well, they come back.

    For then this process may have had no transaction any more, and somebody may have come to need one of them.

    Returns:
        Where each is that was hidden, and those that no time was left for.
    """
    hidden: dict[Kept, str] = {}
    looked_at = 0
    try:
        with database.writing() as session:
            until, needed = time.monotonic() + LONGEST, _needed(session, batch, grace)
            while looked_at < len(batch) and (looked_at == 0 or time.monotonic() < until):
                kept = batch[looked_at]
                looked_at += 1
                if kept.content not in needed and folders.holds(kept.content):
                    hidden[kept] = folders.hide(kept.content)
            if hidden:
                details = {"contents": [kept.content for kept in hidden], "size": sum(kept.size for kept in hidden)}
                session.add(EventRow(at=now(), by=by, what="collect", details=details))
    except BaseException:
        for kept, where in hidden.items():
            folders.restore(kept.content, where)
        raise
    return hidden, list(batch[looked_at:])


def _needed(session: Session, batch: Sequence[Kept], grace: timedelta) -> set[str]:
    """Which of them versions name, or did a short while ago: a request may have begun on them."""
    named = select(VersionRow.content).where(VersionRow.content.in_([kept.content for kept in batch])).distinct()
    there, late = VersionRow.removed_at.is_(None), VersionRow.removed_at > now() - grace
    return set(session.scalars(named.where(there))) | set(session.scalars(named.where(late)))
