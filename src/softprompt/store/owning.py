"""A place for prompts is one store's own: two that delete what they do not need would delete each other's.

A file there names the store. A store in a folder has its place within, and needs none.
"""

from __future__ import annotations

from softprompt.errors import OutputExists, StoreError
from softprompt.store.folders import OWNER, Folders


def own(folders: Folders, identity: str) -> None:
    """Take a place for a store's own. One that holds no prompts may have had another owner, which was never made.

    Raises:
        OutputExists: another store's prompts are there, or something that is no store's.
        DiskFull, SettingError, StoreError: it cannot be read or written.
    """
    if folders.owner() == identity:
        return
    if next(iter(folders.listed()), None) is not None:
        raise OutputExists(f"{folders.name} holds another store's prompts: choose another place for `prompts`")
    if (name := folders.foreign()) is not None:
        raise OutputExists(f"{folders.name} holds {name}, which is no store's: choose an empty place for the prompts")
    folders.take(identity)


def check_owner(folders: Folders, identity: str) -> None:
    """See that a place is a store's own, before anything is deleted there.

    Raises:
        StoreError: it is another's.
    """
    if (owner := folders.owner()) != identity:
        raise StoreError(
            f"{folders.name} is no place of this store's: its file {OWNER} says {owner or 'nothing'}, not {identity}; "
            "nothing was deleted"
        )
