"""A change of one prompt within a transaction: its rows and its event in the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.orm import Session

from softprompt.errors import BaseModelMismatch, NoPreviousVersion, PromptInUse, SettingError, StorageLimitExceeded
from softprompt.registry.audit_event import resolve_actor
from softprompt.registry.database import RegistryDatabase
from softprompt.registry.database_tables import (
    ActivationRow,
    AliasRow,
    AuditEventRow,
    PromptRow,
    TenantRow,
    VersionRow,
    utc_now,
)
from softprompt.registry.prompt_queries import (
    fetch_aliases,
    fetch_version,
    fetch_versions,
    make_not_found_error,
    select_versions,
)
from softprompt.registry.prompt_reference import ACTIVE_ALIAS, PromptReference, validate_name

if TYPE_CHECKING:
    from softprompt.saved import Manifest, SavedPrompt

MAX_ALIASES = 100  # largest number of aliases of a prompt, which bounds the size of every prompt in a list


class PromptMutation:
    """A change of a tenant's prompt.

    Args:
        session: the write transaction.
        tenant: name of the tenant.
        name: name of the prompt.
        actor: name for the audit log.
    """

    def __init__(self, session: Session, tenant: str, name: str, actor: str):
        self.session, self.tenant, self.name, self.actor = session, tenant, name, actor

    @classmethod
    @contextmanager
    def begin(cls, database: RegistryDatabase, tenant: str, name: str, actor: str | None) -> Iterator[PromptMutation]:
        """Open a write transaction on a prompt; `actor` None uses the operating system's user.

        Raises:
            SettingError: invalid tenant or actor.
        """
        tenant, actor = validate_name("tenant", tenant), resolve_actor(actor)
        with database.write_session() as session:
            yield cls(session, tenant, name, actor)

    def add_version(
        self, saved_prompt: SavedPrompt, digest: str, note: str, size_limit: int | None = None
    ) -> VersionRow:
        """Add a version whose artifact exists.

        Raises:
            BaseModelMismatch: the prompt's other versions are for another base model.
            StorageLimitExceeded: the tenant's versions would exceed `size_limit`.
        """
        prompt, manifest = self._get_or_create_prompt(), saved_prompt.manifest
        size = sum(map(len, saved_prompt.files.values()))
        self._check_base_model(prompt, manifest)
        check_storage_limit(prompt.tenant.size_bytes + size, size_limit)
        prompt.tenant.size_bytes += size
        prompt.num_versions += 1
        newest = select(func.max(VersionRow.number)).where(VersionRow.prompt_id == prompt.id)
        version = VersionRow(
            prompt=prompt,
            number=(self.session.scalar(newest) or 0) + 1,
            digest=digest,
            size_bytes=size,
            method=str(manifest.method.get("name", "")),
            num_virtual_tokens=manifest.num_virtual_tokens,
            task=manifest.task.kind,
            base_model=manifest.base.name,
            fingerprint=manifest.base.fingerprint,
            created_at=utc_now(),
            created_by=self.actor,
            note=note,
        )
        self.session.add(version)
        self.session.flush()
        self._log_event("add", version, content=digest, **({"note": note} if note else {}))
        return version

    def activate_version(self, version: VersionRow, alias: str) -> None:
        """Point an alias to a version. An alias that already points to it stays unchanged.

        Raises:
            SettingError: the prompt has the largest permitted number of aliases.
        """
        previous = self._get_alias_target(version.prompt_id, alias)
        if previous is not version:
            self._check_alias_limit(version.prompt_id, is_new_alias=previous is None)
            self.session.add(ActivationRow(prompt_id=version.prompt_id, alias=alias, version=version))
            self._set_alias_target(version, alias)
            self._log_event("activate", version, alias=alias, before=previous and previous.number)

    def deactivate_alias(self, alias: str) -> VersionRow:
        """Remove an alias and return the version that it pointed to.

        Raises:
            PromptNotFound: the alias does not exist.
        """
        version = self.get_version(alias)
        self.session.add(ActivationRow(prompt_id=version.prompt_id, alias=alias))
        self.session.execute(delete(AliasRow).where(*_match_alias(version.prompt_id, alias)))
        self._log_event("deactivate", version, alias=alias)
        return version

    def roll_back_alias(self, alias: str) -> VersionRow:
        """Point an alias to its previous version, skipping removed versions, and return that version.

        Raises:
            PromptNotFound: the prompt does not exist.
            NoPreviousVersion: the alias never pointed to another version that still exists.
        """
        prompt_id = self._get_any_version().prompt_id
        current = self._get_alias_target(prompt_id, alias)
        is_other_version = VersionRow.removed_at.is_(None), VersionRow.id != (0 if current is None else current.id)
        activation = self.session.scalar(
            _select_activations(prompt_id, alias).join(ActivationRow.version).where(*is_other_version).limit(1)
        )
        if activation is None or activation.version is None:
            raise NoPreviousVersion(f"{alias!r} of {self.name} has no previous version to roll back to")
        self._check_alias_limit(prompt_id, is_new_alias=current is None)
        self._delete_newer_activations(activation)
        self._set_alias_target(activation.version, alias)
        self._log_event("rollback", activation.version, alias=alias, before=current and current.number)
        return activation.version

    def remove_versions(self, number: int | None) -> list[VersionRow]:
        """Remove one version, or all versions for None, and return them.

        Raises:
            PromptNotFound: the version does not exist.
            PromptInUse: an alias points to one of the versions.
        """
        versions = self._get_versions() if number is None else [self.get_version(number)]
        self._check_not_in_use(versions)
        prompt = versions[0].prompt
        prompt.num_versions -= len(versions)
        prompt.tenant.size_bytes -= sum(version.size_bytes for version in versions)
        for version in versions:
            version.removed_at = utc_now()
            self._log_event("remove", version, content=version.digest)
        return versions

    def get_version(self, selector: int | str | None) -> VersionRow:
        """Return the version with a number or an alias.

        Raises:
            PromptNotFound: the version does not exist.
        """
        return fetch_version(self.session, self.tenant, PromptReference(self.name, selector))

    def _get_versions(self) -> list[VersionRow]:
        return list(fetch_versions(self.session, self.tenant, self.name))

    def _get_any_version(self) -> VersionRow:
        version = self.session.scalar(select_versions(self.tenant, self.name).limit(1))
        if version is None:
            raise make_not_found_error(self.session, self.tenant, PromptReference(self.name))
        return version

    def _get_or_create_prompt(self) -> PromptRow:
        """Return the row of the prompt. Create the rows of prompt and tenant if they are missing."""
        tenant = self.session.scalar(select(TenantRow).where(TenantRow.name == self.tenant))
        if tenant is None:
            tenant = TenantRow(name=self.tenant)
            self.session.add(tenant)
        self.session.flush()
        query = select(PromptRow).where(PromptRow.tenant_id == tenant.id, PromptRow.name == self.name)
        prompt = self.session.scalar(query) or PromptRow(tenant=tenant, name=self.name)
        self.session.add(prompt)
        self.session.flush()
        return prompt

    def _check_base_model(self, prompt: PromptRow, manifest: Manifest) -> None:
        others = select(VersionRow).where(VersionRow.prompt_id == prompt.id, VersionRow.removed_at.is_(None)).limit(1)
        other, base = self.session.scalar(others), manifest.base
        if other is not None and other.fingerprint != base.fingerprint:
            raise BaseModelMismatch(
                f"the versions of {self.name} are for {other.base_model} ({other.fingerprint}), but this prompt was "
                f"made for {base.name} ({base.fingerprint}): register it under another name"
            )

    def _get_alias_target(self, prompt_id: int, alias: str) -> VersionRow | None:
        """Return the version that an alias points to, or None."""
        row = self.session.scalar(select(AliasRow).where(*_match_alias(prompt_id, alias)))
        return None if row is None else row.version

    def _set_alias_target(self, version: VersionRow, alias: str) -> None:
        """Store the version that an alias points to."""
        row = self.session.scalar(select(AliasRow).where(*_match_alias(version.prompt_id, alias)))
        if row is not None:
            row.version = version
            return
        prompt = version.prompt
        names = {"tenant_id": prompt.tenant_id, "prompt_name": prompt.name, "alias": alias}
        self.session.add(AliasRow(prompt_id=prompt.id, version=version, **names))

    def _check_alias_limit(self, prompt_id: int, *, is_new_alias: bool) -> None:
        count = select(func.count()).select_from(AliasRow).where(AliasRow.prompt_id == prompt_id)
        if is_new_alias and (self.session.scalar(count) or 0) >= MAX_ALIASES:
            raise SettingError(
                f"{self.name} has {MAX_ALIASES} aliases, the largest permitted number: deactivate one first, as "
                f"{self.name}@ALIAS"
            )

    def _delete_newer_activations(self, activation: ActivationRow) -> None:
        """Delete the later activations of the same alias."""
        same_alias = ActivationRow.prompt_id == activation.prompt_id, ActivationRow.alias == activation.alias
        self.session.execute(delete(ActivationRow).where(*same_alias, ActivationRow.id > activation.id))

    def _check_not_in_use(self, versions: Sequence[VersionRow]) -> None:
        aliases = fetch_aliases(self.session, versions[0].prompt_id)
        removed_numbers = {version.number for version in versions}
        for alias, number in aliases.items():
            if number in removed_numbers:
                reference = self.name if alias == ACTIVE_ALIAS else f"{self.name}@{alias}"
                raise PromptInUse(
                    f"{self.name}@{number} is {alias!r}: activate another version first, "
                    f"or remove the alias with `softprompt prompts deactivate {reference}`"
                )

    def _log_event(self, action: str, version: VersionRow, **details: Any) -> None:
        names = {"tenant": self.tenant, "prompt": self.name, "version": version.number}
        self.session.add(AuditEventRow(timestamp=utc_now(), actor=self.actor, action=action, details=details, **names))


def check_storage_limit(size: int, limit: int | None) -> None:
    """Check the total size of a tenant's versions.

    Args:
        size: total size in bytes.
        limit: largest permitted size in bytes, or None.

    Raises:
        StorageLimitExceeded: the size exceeds the limit.
    """
    if limit is not None and size > limit:
        raise StorageLimitExceeded(
            f"storage limit exceeded: the prompts would take {size:,} bytes and the limit is {limit:,}, so remove "
            "versions first"
        )


def _match_alias(prompt_id: int, alias: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return AliasRow.prompt_id == prompt_id, AliasRow.alias == alias


def _select_activations(prompt_id: int, alias: str) -> Select[ActivationRow]:
    """Select the activations of an alias, newest first."""
    query = select(ActivationRow).where(ActivationRow.prompt_id == prompt_id, ActivationRow.alias == alias)
    return query.order_by(ActivationRow.id.desc())
