"""Read and hash every folder that a version needs, and say what is not as it was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from softprompt.errors import DamagedPrompt, SavedPromptError, first_line
from softprompt.store.database import Database
from softprompt.store.finding import find_by_content
from softprompt.store.folders import Folders
from softprompt.store.tables import VersionRow
from softprompt.store.version import Version

if TYPE_CHECKING:
    from softprompt.saved import SavedPrompt


@dataclass(frozen=True)
class Damage:
    """A folder that is not what was written.

    Attributes:
        content: its hash.
        problem: what is wrong with it.
        versions: which need it, whosever they are.
    """

    content: str
    problem: str
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class Verified:
    """What was found.

    Attributes:
        contents: how many folders are needed.
        damages: those that are missing or not what was written.
        unneeded: how many folders no version names; `collect` deletes them.
        database: what is wrong with the database, or None.
    """

    contents: int
    damages: tuple[Damage, ...]
    unneeded: int
    database: str | None

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damages and self.database is None


def verify(database: Database, folders: Folders, tracked: Callable[[Sequence[str]], Iterable[str]] = iter) -> Verified:
    """Read all that versions need.

    Args:
        database: what names it.
        folders: where it is.
        tracked: goes through the hashes, and may tell how far it has come.
    """
    with database.reading() as session:
        needed = session.scalars(select(VersionRow.content).where(VersionRow.removed_at.is_(None)).distinct()).all()
    found = [_damage(database, folders, content) for content in tracked(sorted(needed))]
    damages = tuple(damage for damage in found if damage is not None)
    unneeded = {kept.content for kept in folders.listed()} - set(needed)
    return Verified(len(needed), damages, len(unneeded), database.problem())


def read_content(folders: Folders, content: str) -> SavedPrompt:
    """The saved prompt with this hash.

    Raises:
        DamagedPrompt: it is missing, or not what was written.
        StoreError: the place where it lies does not answer.
    """
    from softprompt.saved import SavedPrompt  # takes torch, which is not waited for when nothing is read

    try:
        files = folders.files(content)
        prompt = SavedPrompt.of(files, Path(content))
    except FileNotFoundError as error:
        raise _damaged(folders, f"{content} is missing ({first_line(error)})") from error
    except OSError as error:
        raise _damaged(folders, f"{content} cannot be read ({first_line(error)})") from error
    except SavedPromptError as error:
        raise _damaged(folders, str(error)) from error
    if prompt.manifest.content_hash != f"sha256:{content}" or prompt.files != files:
        raise _damaged(folders, f"{content} is not what was written")
    return prompt


def _damaged(folders: Folders, problem: str) -> DamagedPrompt:
    return DamagedPrompt(f"in {folders.name}: {problem}; to mend it, add the same prompt again")


def _damage(database: Database, folders: Folders, content: str) -> Damage | None:
    try:
        read_content(folders, content)
    except DamagedPrompt as error:
        with database.reading() as session:
            versions = tuple(row.value() for row in find_by_content(session, content))
        # None: it was removed and collected since it was listed, and nobody misses it.
        return Damage(content, str(error), versions) if versions else None
    return None
