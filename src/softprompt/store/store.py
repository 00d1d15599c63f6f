"""The store: whose prompts there are, in which versions, and which of them is in use.

Two things: a database with tenants, names, versions, aliases, keys, and who did what; and the saved prompts, each in a
folder named after its content hash. On one machine both are in one folder. Several machines share a database in
PostgreSQL, which remembers where the prompts lie.

A prompt's folder is there before a version names it, and goes after the last version that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from uuid import uuid4

from softprompt.errors import DamagedPrompt, SettingError, StoreError
from softprompt.store.backend import Backend
from softprompt.store.change import Change, check_size
from softprompt.store.collecting import GRACE, Collected, Tracked, collect
from softprompt.store.database import Database
from softprompt.store.event import Event, who
from softprompt.store.finding import find_version, tenant_size, unknown_prompt
from softprompt.store.folders import Folders
from softprompt.store.keys import Keys
from softprompt.store.listing import list_aliases, list_events, list_prompts, list_versions
from softprompt.store.names import ACTIVE, DEFAULT_TENANT, Reference, checked_alias, checked_name
from softprompt.store.owning import check_owner, own
from softprompt.store.page import AT_ONCE, Page, go_through
from softprompt.store.places import backend_at, folders_at, place_of
from softprompt.store.tables import SCHEMA, StoreRow
from softprompt.store.verifying import Verified, read_content, verify
from softprompt.store.version import Alias, StoredPrompt, Version

if TYPE_CHECKING:
    from softprompt.saved import SavedPrompt


class Store:
    """A store that is open. Threads may share it; a process that was forked opens its own.

    Attributes:
        place: where it is, as people read it: its folder, or a URL without a password.
        prompts_at: where its prompts lie, a folder or a URL.
        keys: who may ask a server, for whom and what.
    """

    def __init__(self, database: Database, folders: Folders, shared: str | None):
        self.place, self.prompts_at = database.backend.name, folders.name
        self._database, self._folders, self._shared = database, folders, shared
        self.keys = Keys(database)

    @classmethod
    def open(cls, place: str | Path, *, create: bool = False, prompts: str | Path | None = None) -> Store:
        """The store at a place.

        Args:
            place: a folder, or the URL of a PostgreSQL database, `postgresql://user@host/database`.
            create: make one, if none is there and the place is empty.
            prompts: where the prompts of a store that is made shall lie: a folder, or a URL that fsspec knows, such as
                `s3://bucket/prefix`. The database remembers it. A store in a folder keeps them there, if None.

        Raises:
            StoreError: there is none, or it is damaged, or it cannot be reached.
            NewerStore: it was made by a later softprompt.
            OutputExists: something else is in the place, or another store's prompts are in theirs.
            DiskFull, SettingError: it cannot be made there, or there is no such kind of place.
        """
        backend = backend_at(place)
        wanted = None if prompts is None else place_of(prompts)
        if not create:
            backend.look()
        database = Database(backend)
        try:
            if create:
                database.create(lambda: _new(backend, wanted))
            row = database.open()
            if wanted not in (None, row.prompts):
                raise SettingError(f"the prompts of {backend.name} lie at {row.prompts or backend.beside}, for good")
            folders = folders_at(row.prompts or _beside(backend))
            if create and row.prompts:
                own(folders, row.identity)
        except BaseException:
            database.close()
            raise
        return cls(database, folders, row.identity if row.prompts else None)

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
        size_limit: int | None = None,
    ) -> Version:
        """Add a saved prompt as the next version of a name.

        Args:
            prompt: it, or its folder. Its own files are stored, and nothing else that lies in the folder.
            name: what it is called. A new name makes a prompt, and a new tenant is one from then on.
            tenant: whose it is.
            activate: whether a bare name means this version from now on.
            note: what there is to say about it.
            by: who adds it; the operating system's user, if None.
            size_limit: bytes that all versions of the tenant's prompts may have together; None for any number.

        Raises:
            SavedPromptError: it is none, or it is damaged.
            OverflowingPrompt: it holds numbers that no model can square.
            WrongBaseModel: the name's other versions are for another base model.
            StorageLimitExceeded: the tenant's versions would have more bytes than `size_limit`.
            SettingError: a name that may not be one.
            DiskFull: nothing was added.
        """
        from softprompt.saved import SavedPrompt  # takes torch, which is not waited for when nothing is added
        from softprompt.saved.overflow import check_magnitude

        checked_name("prompt", name)
        checked_name("tenant", tenant)
        by, note = who(by), _checked_note(note)
        saved = prompt if isinstance(prompt, SavedPrompt) else SavedPrompt.read(prompt)
        _check_words(saved)
        check_magnitude(saved, name)
        content = saved.manifest.content_hash.removeprefix("sha256:")
        check_size(self.size_of(tenant) + sum(map(len, saved.files.values())), size_limit)  # before it takes any room
        while True:
            self._folders.put(content, saved.files)
            with self._changing(tenant, name, by) as change:
                if not self._folders.holds(content):
                    continue  # it had been there before, for nobody, and was collected in between
                version = change.add(saved, content, note, size_limit)
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

    def read(self, version: Version) -> SavedPrompt:
        """A version's saved prompt, every file checked.

        Raises:
            DamagedPrompt: it is missing or not what was added.
        """
        return read_content(self._folders, version.content)

    def prompts(self, tenant: str | None = None) -> list[StoredPrompt]:
        """A tenant's prompts with their versions and aliases, or everybody's, in alphabetical order, at one moment."""
        with self._database.reading() as session:
            return list(go_through(lambda last: list_prompts(session, tenant, _owned(last), AT_ONCE)))

    def iterate_prompts(self, tenant: str | None = None) -> Iterator[StoredPrompt]:
        """The same, read while they are gone through, a page at a time: what changes meanwhile may be seen or not."""

        def read(last: StoredPrompt | None) -> Page[StoredPrompt]:
            with self._database.reading() as session:
                return list_prompts(session, tenant, _owned(last), AT_ONCE)

        return go_through(read)

    def prompts_page(
        self, tenant: str, *, limit: int, after: str | None = None, containing: str = "", newest: int | None = None
    ) -> Page[StoredPrompt]:
        """Some of a tenant's prompts, in alphabetical order.

        Args:
            tenant: whose.
            limit: how many at most.
            after: the name that they come behind, whether or not there is such a prompt; None for the first ones.
            containing: only prompts with this in their names.
            newest: how many versions of each to tell, the newest and those with an alias; None for all.
        """
        with self._database.reading() as session:
            behind = None if after is None else (tenant, after)
            return list_prompts(session, tenant, behind, limit, containing, newest)

    def aliases_page(self, tenant: str, *, limit: int, after: tuple[str, str] | None = None) -> Page[Alias]:
        """Some of a tenant's aliases, in alphabetical order of the prompts' names and their own.

        Args:
            tenant: whose.
            limit: how many at most.
            after: the prompt's name and the alias that they come behind; None for the first ones.
        """
        with self._database.reading() as session:
            return list_aliases(session, tenant, after, limit)

    def versions_page(self, name: str, *, tenant: str, limit: int, before: int | None = None) -> Page[Version]:
        """Some of a prompt's versions, the newest first.

        Args:
            name: the prompt's.
            tenant: whose it is.
            limit: how many at most.
            before: the number that theirs are below; None for the newest ones.

        Raises:
            UnknownPrompt: the tenant has no such prompt.
            SettingError: a name that may not be one.
        """
        checked_name("prompt", name)
        with self._database.reading() as session:
            page = list_versions(session, tenant, name, before, limit)
            if not page.items and before is None:
                raise unknown_prompt(session, tenant, Reference(name))
            return page

    def size_of(self, tenant: str) -> int:
        """Bytes of all versions that a tenant has; what is stored once for several versions is counted for each."""
        with self._database.reading() as session:
            return tenant_size(session, tenant)

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

    def history(
        self, tenant: str | None = None, name: str | None = None, limit: int | None = None, *, before: int | None = None
    ) -> list[Event]:
        """What was done, the newest first.

        Args:
            tenant: to whose prompts; None for everybody's.
            name: to which; None for all.
            limit: how many to tell at most; None for all.
            before: only what was done before the event with this id; None for the newest.
        """
        with self._database.reading() as session:
            return [row.value() for row in session.scalars(list_events(tenant, name, before, limit))]

    def iterate_history(self, tenant: str | None = None, name: str | None = None) -> Iterator[Event]:
        """All that was done, the newest first, read while it is gone through."""

        def read(last: Event | None) -> Page[Event]:
            before = None if last is None else last.id
            return Page.cut_from(self.history(tenant, name, AT_ONCE + 1, before=before), AT_ONCE)

        return go_through(read)

    def collect(self, grace: timedelta = GRACE, by: str | None = None, tracked: Tracked = iter) -> Collected:
        """Delete the folders that no version needs any more.

        Args:
            grace: for how long nobody must have needed them. Requests that began on a version may read it meanwhile.
            by: who does it; the operating system's user, if None.
            tracked: goes through what is to be deleted, and may tell how far it has come.

        Raises:
            StoreError: another store has taken the place where the prompts lie.
        """
        if self._shared:
            check_owner(self._folders, self._shared)
        return collect(self._database, self._folders, grace, who(by), tracked)

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


def _new(backend: Backend, prompts: str | None) -> StoreRow:
    """What the database of a new store says of it. The place of its prompts is its own from then on."""
    row = StoreRow(id=1, schema=SCHEMA, identity=uuid4().hex, prompts=prompts)
    if prompts is not None:
        own(folders_at(prompts), row.identity)
    elif backend.beside is None:
        raise SettingError(
            f"where shall the prompts of {backend.name} lie? Name the place with `prompts`: s3://bucket/prefix, or a "
            "folder that all who use the store see"
        )
    return row


def _beside(backend: Backend) -> Path:
    if backend.beside is None:
        raise StoreError(f"{backend.name} does not say where its prompts lie: restore it from a copy")
    return backend.beside


def _owned(prompt: StoredPrompt | None) -> tuple[str, str] | None:
    return None if prompt is None else (prompt.tenant, prompt.name)


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


def _check_words(saved: SavedPrompt) -> None:
    """What the database keeps of a manifest, which may come from anybody."""
    manifest = saved.manifest
    for words in (str(manifest.method.get("name", "")), manifest.base.name, manifest.base.fingerprint):
        if "\0" in words:
            raise DamagedPrompt(f"the manifest holds {words!r}: no database keeps a NUL")
