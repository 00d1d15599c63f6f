"""Prompt registry: tenants, prompts, versions, aliases and API keys, with the saved prompts that they refer to.

A registry has two parts: a database with metadata and an audit log, and an artifact store with each saved prompt under
its digest. On one machine both parts are in one folder. Several machines share a PostgreSQL database, which stores the
location of the artifact store.

Invariant: an artifact is written before a version refers to it, and is deleted after the last such version is removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from softprompt.registry.api_key_registry import ApiKeyRegistry
from softprompt.registry.audit_event import AuditEvent, resolve_actor
from softprompt.registry.garbage_collection import GRACE_PERIOD, GarbageReport, collect_garbage
from softprompt.registry.integrity import IntegrityReport, load_prompt_artifact, verify_integrity
from softprompt.registry.page_queries import (
    fetch_aliases_page,
    fetch_prompts_after,
    fetch_prompts_page,
    fetch_versions_page,
    select_events,
)
from softprompt.registry.pagination import PAGE_SIZE, ResultPage, iterate_pages
from softprompt.registry.progress_callback import ProgressCallback, ignore_progress
from softprompt.registry.prompt_mutation import PromptMutation, check_storage_limit
from softprompt.registry.prompt_queries import fetch_tenant_size, fetch_version
from softprompt.registry.prompt_reference import (
    ACTIVE_ALIAS,
    DEFAULT_TENANT,
    PromptReference,
    validate_alias,
    validate_name,
)
from softprompt.registry.prompt_version import PromptAlias, PromptVersion, RegisteredPrompt
from softprompt.registry.registrable_prompt import check_note, load_registrable_prompt
from softprompt.registry.registry_storage import RegistryStorage

if TYPE_CHECKING:
    from softprompt.saved import SavedPrompt


class PromptRegistry:
    """An open prompt registry. Threads may share it; a forked process must open its own.

    Attributes:
        location: display name of the database: its folder, or a URL without the password.
        artifact_location: folder or URL of the artifact store.
        api_keys: the API keys of the registry.
    """

    def __init__(self, storage: RegistryStorage):
        self._storage, self._database, self._artifacts = storage, storage.database, storage.artifacts
        self.location, self.artifact_location = self._database.backend.display_name, self._artifacts.display_name
        self.api_keys = ApiKeyRegistry(self._database)

    @classmethod
    def open(
        cls, location: str | Path, *, create: bool = False, artifact_location: str | Path | None = None
    ) -> PromptRegistry:
        """Open the registry at a location.

        Args:
            location: a folder, or the URL of a PostgreSQL database, `postgresql://user@host/database`.
            create: create a registry if the location has none and is empty.
            artifact_location: the artifact store of a new registry: a folder, or a URL that fsspec supports, such as
                `s3://bucket/prefix`. The database stores it. None means the registry's own folder.

        Raises:
            StoreError: the registry does not exist, is damaged, or cannot be reached.
            UnsupportedStoreFormat: a newer softprompt created the registry.
            OutputExists: the location contains something else, or the artifact store belongs to another registry.
            DiskFull, SettingError: the registry cannot be created there, or the kind of location is not supported.
        """
        return cls(RegistryStorage.open(location, create=create, artifact_location=artifact_location))

    def close(self) -> None:
        """Close the database connections."""
        self._database.close()

    def __enter__(self) -> PromptRegistry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def register_prompt(
        self,
        prompt: SavedPrompt | str | Path,
        name: str,
        *,
        tenant: str = DEFAULT_TENANT,
        activate: bool = True,
        note: str = "",
        actor: str | None = None,
        size_limit: int | None = None,
    ) -> PromptVersion:
        """Register a saved prompt as the next version of a prompt.

        Args:
            prompt: a saved prompt or its folder. Only the files that belong to the saved prompt are stored.
            name: name of the prompt. An unknown name creates a prompt, an unknown tenant creates a tenant.
            tenant: tenant that owns the prompt.
            activate: point the alias `active` to the new version.
            note: free text that is stored with the version.
            actor: name for the audit log; None uses the operating system's user.
            size_limit: maximum size of all versions of the tenant together, in bytes; None for no limit.

        Raises:
            SavedPromptError: the folder is not a saved prompt, or the prompt is corrupt.
            NonFiniteOutput: the prompt contains values whose square overflows.
            BaseModelMismatch: the other versions of the prompt are for another base model.
            StorageLimitExceeded: the tenant's versions would exceed `size_limit`.
            SettingError: invalid name, tenant, note or actor.
            DiskFull: no space is left; nothing was registered.
        """
        validate_name("prompt", name)
        validate_name("tenant", tenant)
        actor, note = resolve_actor(actor), check_note(note)
        saved_prompt = load_registrable_prompt(prompt, name)
        digest = saved_prompt.manifest.content_hash.removeprefix("sha256:")
        # Checked before the artifact takes any space, and again in the transaction.
        check_storage_limit(self.get_tenant_size(tenant) + sum(map(len, saved_prompt.files.values())), size_limit)
        while True:
            self._artifacts.write_artifact(digest, saved_prompt.files)
            with PromptMutation.begin(self._database, tenant, name, actor) as mutation:
                if not self._artifacts.has_artifact(digest):
                    continue  # an unreferenced copy existed before, and was garbage-collected in between
                version = mutation.add_version(saved_prompt, digest, note, size_limit)
                if activate:
                    mutation.activate_version(version, ACTIVE_ALIAS)
                return version.to_prompt_version()

    def resolve_version(self, reference: str, *, tenant: str = DEFAULT_TENANT) -> PromptVersion:
        """Resolve a reference: `NAME` is the active version, `NAME@canary` that of an alias, `NAME@3` the third.

        Raises:
            PromptNotFound: the tenant has no such version.
            SettingError: the reference is malformed.
        """
        parsed = PromptReference.parse_reference(reference)
        with self._database.read_session() as session:
            return fetch_version(session, validate_name("tenant", tenant), parsed).to_prompt_version()

    def load_prompt(self, version: PromptVersion) -> SavedPrompt:
        """Load the saved prompt of a version and check every file.

        Raises:
            CorruptPrompt: the artifact is missing or was changed.
        """
        return load_prompt_artifact(self._artifacts, version.digest)

    def list_prompts(self, tenant: str | None = None) -> list[RegisteredPrompt]:
        """Return a snapshot of all prompts of a tenant, or of all tenants, in alphabetical order."""
        with self._database.read_session() as session:
            return list(iterate_pages(partial(fetch_prompts_after, session, tenant)))

    def iterate_prompts(self, tenant: str | None = None) -> Iterator[RegisteredPrompt]:
        """Iterate over the prompts a page at a time. Changes during the iteration may or may not be visible."""

        def fetch_page(last: RegisteredPrompt | None) -> ResultPage[RegisteredPrompt]:
            with self._database.read_session() as session:
                return fetch_prompts_after(session, tenant, last)

        return iterate_pages(fetch_page)

    def get_prompts_page(
        self,
        tenant: str,
        *,
        limit: int,
        after: str | None = None,
        name_contains: str = "",
        num_newest: int | None = None,
    ) -> ResultPage[RegisteredPrompt]:
        """Return a page of a tenant's prompts in alphabetical order.

        Args:
            tenant: name of the tenant.
            limit: maximum number of prompts.
            after: name that all results sort after, whether or not it exists; None for the first page.
            name_contains: return only prompts whose names contain this text.
            num_newest: number of newest versions of each prompt, in addition to those with an alias; None for all.
        """
        with self._database.read_session() as session:
            cursor = None if after is None else (tenant, after)
            return fetch_prompts_page(session, tenant, cursor, limit, name_contains, num_newest)

    def get_aliases_page(
        self, tenant: str, *, limit: int, after: tuple[str, str] | None = None
    ) -> ResultPage[PromptAlias]:
        """Return a page of a tenant's aliases, ordered by prompt name and alias.

        Args:
            tenant: name of the tenant.
            limit: maximum number of aliases.
            after: prompt name and alias that all results sort after; None for the first page.
        """
        with self._database.read_session() as session:
            return fetch_aliases_page(session, tenant, after, limit)

    def get_versions_page(
        self, name: str, *, tenant: str, limit: int, before: int | None = None
    ) -> ResultPage[PromptVersion]:
        """Return a page of a prompt's versions, newest first.

        Args:
            name: name of the prompt.
            tenant: name of the tenant.
            limit: maximum number of versions.
            before: return only versions with smaller numbers; None for the first page.

        Raises:
            PromptNotFound: the tenant has no such prompt.
            SettingError: invalid name.
        """
        validate_name("prompt", name)
        with self._database.read_session() as session:
            return fetch_versions_page(session, tenant, name, before, limit)

    def get_tenant_size(self, tenant: str) -> int:
        """Return the total size of a tenant's versions in bytes. An artifact counts once for each of its versions."""
        with self._database.read_session() as session:
            return fetch_tenant_size(session, tenant)

    def activate_version(
        self, reference: str, *, alias: str = ACTIVE_ALIAS, tenant: str = DEFAULT_TENANT, actor: str | None = None
    ) -> PromptVersion:
        """Point an alias to a version atomically: concurrent readers see the previous version or the new one.

        Args:
            reference: `NAME@3`, or `NAME@canary` for the version that this alias points to.
            alias: the alias to change.
            tenant: tenant that owns the prompt.
            actor: name for the audit log; None uses the operating system's user.

        Raises:
            PromptNotFound: the version does not exist.
            SettingError: the reference names no version, or the alias is invalid.
        """
        parsed = PromptReference.parse_reference(reference)
        selector, alias = parsed.require_selector(), validate_alias(alias)
        with PromptMutation.begin(self._database, tenant, parsed.name, actor) as mutation:
            version = mutation.get_version(selector)
            mutation.activate_version(version, alias)
            return version.to_prompt_version()

    def deactivate_alias(
        self, reference: str, *, tenant: str = DEFAULT_TENANT, actor: str | None = None
    ) -> PromptVersion:
        """Remove an alias, `NAME@canary`, or the active one of `NAME`. Return the version that it pointed to.

        Raises:
            PromptNotFound: the alias does not exist.
            SettingError: the reference is a version number.
        """
        parsed = PromptReference.parse_reference(reference)
        alias = parsed.require_alias()
        with PromptMutation.begin(self._database, tenant, parsed.name, actor) as mutation:
            return mutation.deactivate_alias(alias).to_prompt_version()

    def roll_back_alias(
        self, reference: str, *, tenant: str = DEFAULT_TENANT, actor: str | None = None
    ) -> PromptVersion:
        """Point an alias, `NAME@canary`, or the active one of `NAME`, to its previous version, and return that version.

        Repeated calls go further back. Removed versions are skipped.

        Raises:
            PromptNotFound: the prompt does not exist.
            NoPreviousVersion: the alias has no previous version.
            SettingError: the reference is a version number.
        """
        parsed = PromptReference.parse_reference(reference)
        alias = parsed.require_alias()
        with PromptMutation.begin(self._database, tenant, parsed.name, actor) as mutation:
            return mutation.roll_back_alias(alias).to_prompt_version()

    def remove_versions(
        self, reference: str, *, tenant: str = DEFAULT_TENANT, actor: str | None = None
    ) -> list[PromptVersion]:
        """Remove a version, `NAME@3`, or all versions of `NAME`, and return them. `collect_garbage` frees the space.

        Raises:
            PromptNotFound: the version does not exist.
            PromptInUse: an alias points to one of the versions.
            SettingError: the reference is an alias.
        """
        parsed = PromptReference.parse_reference(reference)
        number = parsed.require_number_or_bare()
        with PromptMutation.begin(self._database, tenant, parsed.name, actor) as mutation:
            return [version.to_prompt_version() for version in mutation.remove_versions(number)]

    def list_events(
        self, tenant: str | None = None, name: str | None = None, limit: int | None = None, *, before: int | None = None
    ) -> list[AuditEvent]:
        """Return events of the audit log, newest first.

        Args:
            tenant: return only events of this tenant; None for all tenants.
            name: return only events of this prompt; None for all prompts.
            limit: maximum number of events; None for all.
            before: return only events older than the event with this id; None starts with the newest.
        """
        with self._database.read_session() as session:
            return [row.to_audit_event() for row in session.scalars(select_events(tenant, name, before, limit))]

    def iterate_events(self, tenant: str | None = None, name: str | None = None) -> Iterator[AuditEvent]:
        """Iterate over the audit log, newest first, a page at a time."""

        def fetch_page(last: AuditEvent | None) -> ResultPage[AuditEvent]:
            before = None if last is None else last.id
            return ResultPage.from_results(self.list_events(tenant, name, PAGE_SIZE + 1, before=before), PAGE_SIZE)

        return iterate_pages(fetch_page)

    def collect_garbage(
        self,
        grace_period: timedelta = GRACE_PERIOD,
        actor: str | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> GarbageReport:
        """Delete artifacts that no version references.

        Args:
            grace_period: minimum time since the last reference. Running requests may still read the artifact.
            actor: name for the audit log; None uses the operating system's user.
            on_progress: called with the number of checked artifacts and of all that may be deleted.

        Raises:
            StoreError: the artifact store belongs to another registry.
        """
        self._storage.check_ownership()
        return collect_garbage(self._database, self._artifacts, grace_period, resolve_actor(actor), on_progress)

    def verify_integrity(self, on_progress: ProgressCallback = ignore_progress) -> IntegrityReport:
        """Read and hash every referenced artifact, and check the database.

        Args:
            on_progress: called with the number of checked artifacts and of all that versions reference.
        """
        return verify_integrity(self._database, self._artifacts, on_progress)
