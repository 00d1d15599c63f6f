"""The store: whose prompts there are, in which versions, and which of them is in use.

prompts-store/
├── store.sqlite        tenants, names, versions, aliases, keys, and who did what
└── prompts/            the saved prompts, each in a folder named after its content hash

A prompt's folder is there before a version names it, and goes after the last version that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from sqlalchemy import select

from softprompt.errors import OutputExists, SettingError, StoreError, disk_errors
from softprompt.store.change import Change
from softprompt.store.collecting import GRACE, Collected, collect
from softprompt.store.database import Database
from softprompt.store.event import Event, who
from softprompt.store.finding import find_version, list_prompts
from softprompt.store.folders import Folders
from softprompt.store.keys import Keys
from softprompt.store.names import ACTIVE, DEFAULT_TENANT, Reference, checked_alias, checked_name
from softprompt.store.tables import EventRow
from softprompt.store.verifying import Verified, read_content, verify
from softprompt.store.version import StoredPrompt, Version

if TYPE_CHECKING:
    from softprompt.saved import SavedPrompt

DATABASE, FOLDERS = "store.sqlite", "prompts"


class Store:
    """A store that is open. Threads may share it; a process that was forked opens its own.

    Attributes:
        path: its folder.
        keys: who may ask a server, for whom and what.
    """

    def __init__(self, path: Path, database: Database, folders: Folders):
        self.path, self._database, self._folders = path, database, folders
        self.keys = Keys(database)

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False) -> Store:
        """The store in a folder.

        Args:
            path: the folder.
            create: make one, if none is there and the folder is empty.

        Raises:
            StoreError: there is none, or it is damaged.
            NewerStore: it was made by a later softprompt.
            OutputExists: something else is in the folder.
            DiskFull, SettingError: it cannot be made there.
        """
        path = Path(path)
        if not create and not (path / DATABASE).is_file():
            raise StoreError(f"no store in {path}: `softprompt prompts add` makes one, --store names another")
        database = Database(path / DATABASE)
        try:
            if create:
                _make(path, database)
            database.open()
        except BaseException:
            database.close()
            raise
        return cls(path, database, Folders(path / FOLDERS))

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add(
        self,
        prompt: SavedPrompt | str | Path,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        activate: bool = True,
        note: str = "",
        by: str | None = None,
    ) -> Version:
        """Add a saved prompt as the next version of a name.

        Args:
            prompt: it, or its folder. Its own files are stored, and nothing else that lies in the folder.
            name: what it is called. A new name makes a prompt, and a new tenant is one from then on.
            tenant: whose it is.
            activate: whether a bare name means this version from now on.
            note: what there is to say about it.
            by: who adds it; the operating system's user, if None.

        Raises:
            SavedPromptError: it is none, or it is damaged.
            WrongBaseModel: the name's other versions are for another base model.
            SettingError: a name that may not be one.
            DiskFull: nothing was added.
        """
        from softprompt.saved import SavedPrompt  # takes torch, which is not waited for when nothing is added

        checked_name("prompt", name)
        checked_name("tenant", tenant)
        by, note = who(by), _checked_note(note)
        saved = prompt if isinstance(prompt, SavedPrompt) else SavedPrompt.read(prompt)
        content = saved.manifest.content_hash.removeprefix("sha256:")
        while True:
            self._folders.put(content, saved.files)
            with self._changing(tenant, name, by) as change:
                if not self._folders.holds(content):
                    continue  # it had been there before, for nobody, and was collected in between
                version = change.add(saved, content, note)
                if activate:
                    change.activate(version, ACTIVE)
                return version.value()

    def resolve(self, reference: str, *, tenant: str = DEFAULT_TENANT) -> Version:
        """The version that is meant: `NAME` is the active one, `NAME@canary` an alias's, `NAME@3` the third.

        Raises:
            UnknownPrompt: the tenant has none that is meant.
            SettingError: it is no reference.
        """
        parsed = Reference.parse(reference)
        with self._database.reading() as session:
            return find_version(session, checked_name("tenant", tenant), parsed).value()

    def folder(self, version: Version) -> Path:
        """Where a version's saved prompt is. It does not change; it stays for an hour after the version was removed."""
        return self._folders.path(version.content)

    def read(self, version: Version) -> SavedPrompt:
        """A version's saved prompt, every file checked.

        Raises:
            DamagedPrompt: it is missing or not what was added.
        """
        return read_content(self._folders, version.content)

    def prompts(self, tenant: str | None = None) -> list[StoredPrompt]:
        """A tenant's prompts with their versions and aliases, or everybody's, in alphabetical order."""
        with self._database.reading() as session:
            return list_prompts(session, tenant)

    def activate(
        self, reference: str, *, alias: str = ACTIVE, tenant: str = DEFAULT_TENANT, by: str | None = None
    ) -> Version:
        """Point an alias to a version, in one step: who resolves it gets what was there, or this.

        Args:
            reference: `NAME@3`, or `NAME@canary` for what that alias points to.
            alias: the one to point.
            tenant: whose prompt it is.
            by: who does it; the operating system's user, if None.

        Raises:
            UnknownPrompt: there is no such version.
            SettingError: the reference names no version, or the alias may not be called so.
        """
        wanted = Reference.parse(reference)
        if wanted.at is None:
            raise SettingError(f"which version of {wanted.name}? Write it as {wanted.name}@3")
        checked_alias(alias)
        with self._changing(tenant, wanted.name, by) as change:
            version = change.version(wanted.at)
            change.activate(version, alias)
            return version.value()

    def deactivate(self, reference: str, *, tenant: str = DEFAULT_TENANT, by: str | None = None) -> Version:
        """Point an alias, `NAME@canary` or the active one of `NAME`, to nothing; gives what it pointed to.

        Raises:
            UnknownPrompt: it points to nothing.
            SettingError: the reference is to a number.
        """
        name, alias = _alias(reference)
        with self._changing(tenant, name, by) as change:
            return change.deactivate(alias).value()

    def roll_back(self, reference: str, *, tenant: str = DEFAULT_TENANT, by: str | None = None) -> Version:
        """Point an alias, `NAME@canary` or the active one of `NAME`, to what it pointed to before; gives that.

        Again and again it goes further back. Versions that were removed since are passed over.

        Raises:
            UnknownPrompt: there is no such prompt.
            NothingBefore: there is nothing to go back to.
            SettingError: the reference is to a number.
        """
        name, alias = _alias(reference)
        with self._changing(tenant, name, by) as change:
            return change.roll_back(alias).value()

    def remove(self, reference: str, *, tenant: str = DEFAULT_TENANT, by: str | None = None) -> list[Version]:
        """Remove a version, `NAME@3`, or all of `NAME`; gives those that went. `collect` makes room on the disk.

        Raises:
            UnknownPrompt: there is none.
            PromptInUse: an alias points to one of them.
            SettingError: the reference is to an alias.
        """
        wanted = Reference.parse(reference)
        if isinstance(wanted.at, str):
            raise SettingError(f"{reference} is an alias: remove a version by its number, {wanted.name}@3")
        with self._changing(tenant, wanted.name, by) as change:
            return [version.value() for version in change.remove(wanted.at)]

    def history(self, tenant: str | None = None, name: str | None = None, limit: int | None = None) -> list[Event]:
        """What was done, the newest first.

        Args:
            tenant: to whose prompts; None for everybody's.
            name: to which; None for all.
            limit: how many to tell at most; None for all.
        """
        query = select(EventRow).order_by(EventRow.id.desc()).limit(limit)
        if tenant is not None:
            query = query.where(EventRow.tenant == tenant)
        if name is not None:
            query = query.where(EventRow.prompt == name)
        with self._database.reading() as session:
            return [row.value() for row in session.scalars(query)]

    def collect(self, grace: timedelta = GRACE, by: str | None = None) -> Collected:
        """Delete the folders that no version needs any more.

        Args:
            grace: for how long nobody must have needed them. Requests that began on a version may read it meanwhile.
            by: who does it; the operating system's user, if None.
        """
        with disk_errors(self.path):
            return collect(self._database, self._folders, grace, who(by))

    def verify(self, tracked: Callable[[Sequence[str]], Iterable[str]] = iter) -> Verified:
        """Read and hash all that versions need, and look through the database.

        Args:
            tracked: goes through the hashes, and may tell how far it has come.
        """
        return verify(self._database, self._folders, tracked)

    @contextmanager
    def _changing(self, tenant: str, name: str, by: str | None) -> Iterator[Change]:
        """A transaction for one change."""
        whose, said = checked_name("tenant", tenant), who(by)
        with self._database.writing() as session:
            yield Change(session, whose, name, said)


def _make(path: Path, database: Database) -> None:
    if path.exists() and not path.is_dir():
        raise OutputExists(f"{path} is a file: choose another place for the store with --store")
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        if not database.file.exists() and (others := [p for p in path.iterdir() if not p.name.startswith(DATABASE)]):
            raise OutputExists(f"{path} is no store and holds {others[0].name}: choose another folder with --store")
        database.create()


def _alias(reference: str) -> tuple[str, str]:
    parsed = Reference.parse(reference)
    if isinstance(parsed.at, int):
        raise SettingError(f"{reference} is a version: name an alias as {parsed.name}@canary, or {parsed.name} alone")
    return parsed.name, parsed.at or ACTIVE


def _checked_note(note: str) -> str:
    """A text that every database can keep."""
    if "\0" in note or any("\ud800" <= each <= "\udfff" for each in note):
        raise SettingError("the note holds characters that are none: write it in UTF-8, without NUL")
    return note
