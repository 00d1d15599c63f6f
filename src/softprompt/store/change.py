"""One change of one prompt, within a transaction: what it does to the rows, and the event that tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.orm import Session

from softprompt.errors import NothingBefore, PromptInUse, SettingError, StorageLimitExceeded, WrongBaseModel
from softprompt.store.finding import aliases_of, find_version, find_versions, unknown_prompt, versions_of
from softprompt.store.names import ACTIVE, Reference
from softprompt.store.tables import ActivationRow, AliasRow, EventRow, PromptRow, TenantRow, VersionRow, now

if TYPE_CHECKING:
    from softprompt.saved import Manifest, SavedPrompt

MOST_ALIASES = 100  # of a prompt at a time: so whatever lists prompts has a bound


class Change:
    """A change that somebody makes to a tenant's prompt.

    Args:
        session: the transaction.
        tenant: whose prompt it is.
        name: the prompt's.
        by: who makes the change.
    """

    def __init__(self, session: Session, tenant: str, name: str, by: str):
        self.session, self.tenant, self.name, self.by = session, tenant, name, by

    def add(self, saved: SavedPrompt, content: str, note: str, size_limit: int | None = None) -> VersionRow:
        """A new version, whose folder is there.

        Raises:
            WrongBaseModel: the prompt's other versions are for another one.
            StorageLimitExceeded: the tenant's versions would have more bytes than `size_limit`.
        """
        prompt, manifest, size = self._prompt(), saved.manifest, sum(map(len, saved.files.values()))
        self._check_base(prompt, manifest)
        check_size(prompt.tenant.size + size, size_limit)
        prompt.tenant.size += size
        prompt.num_versions += 1
        newest = select(func.max(VersionRow.number)).where(VersionRow.prompt_id == prompt.id)
        version = VersionRow(
            prompt=prompt,
            number=(self.session.scalar(newest) or 0) + 1,
            content=content,
            size=size,
            method=str(manifest.method.get("name", "")),
            num_virtual_tokens=manifest.num_virtual_tokens,
            task=manifest.task.kind,
            base=manifest.base.name,
            fingerprint=manifest.base.fingerprint,
            created_at=now(),
            created_by=self.by,
            note=note,
        )
        self.session.add(version)
        self.session.flush()
        self._log("add", version, content=content, **({"note": note} if note else {}))
        return version

    def activate(self, version: VersionRow, alias: str) -> None:
        """Point an alias to a version, unless it does so already.

        Raises:
            SettingError: the prompt has as many aliases as it may.
        """
        before = self._pointed(version.prompt_id, alias)
        if before is not version:
            self._check_aliases(version.prompt_id, is_new=before is None)
            self.session.add(ActivationRow(prompt_id=version.prompt_id, alias=alias, version=version))
            self._point(version, alias)
            self._log("activate", version, alias=alias, before=before and before.number)

    def deactivate(self, alias: str) -> VersionRow:
        """Point an alias to nothing; gives what it pointed to.

        Raises:
            UnknownPrompt: it points to nothing.
        """
        version = self.version(alias)
        self.session.add(ActivationRow(prompt_id=version.prompt_id, alias=alias))
        self.session.execute(delete(AliasRow).where(*_is_alias(version.prompt_id, alias)))
        self._log("deactivate", version, alias=alias)
        return version

    def roll_back(self, alias: str) -> VersionRow:
        """Point an alias to what it pointed to before, as far as that is still there.

        Raises:
            UnknownPrompt: there is no such prompt.
            NothingBefore: it never pointed to another version that is still there.
        """
        prompt_id = self._some_version().prompt_id
        here = self._pointed(prompt_id, alias)
        elsewhere = VersionRow.removed_at.is_(None), VersionRow.id != (0 if here is None else here.id)
        step = self.session.scalar(_steps(prompt_id, alias).join(ActivationRow.version).where(*elsewhere).limit(1))
        if step is None or step.version is None:
            raise NothingBefore(f"no other version of {self.name} was {alias!r} before: there is nothing to go back to")
        self._check_aliases(prompt_id, is_new=here is None)
        self._forget_after(step)
        self._point(step.version, alias)
        self._log("rollback", step.version, alias=alias, before=here and here.number)
        return step.version

    def remove(self, at: int | None) -> list[VersionRow]:
        """Remove a version, or all of them.

        Raises:
            UnknownPrompt: there is none.
            PromptInUse: an alias points to one of them.
        """
        versions = self._versions() if at is None else [self.version(at)]
        self._check_unused(versions)
        prompt = versions[0].prompt
        prompt.num_versions -= len(versions)
        prompt.tenant.size -= sum(version.size for version in versions)
        for version in versions:
            version.removed_at = now()
            self._log("remove", version, content=version.content)
        return versions

    def version(self, at: int | str | None) -> VersionRow:
        """The version with this number or alias.

        Raises:
            UnknownPrompt: there is none.
        """
        return find_version(self.session, self.tenant, Reference(self.name, at))

    def _versions(self) -> list[VersionRow]:
        return list(find_versions(self.session, self.tenant, self.name))

    def _some_version(self) -> VersionRow:
        version = self.session.scalar(versions_of(self.tenant, self.name).limit(1))
        if version is None:
            raise unknown_prompt(self.session, self.tenant, Reference(self.name))
        return version

    def _prompt(self) -> PromptRow:
        """The prompt's row, made if need be; so is the tenant's."""
        tenant = self.session.scalar(select(TenantRow).where(TenantRow.name == self.tenant))
        if tenant is None:
            tenant = TenantRow(name=self.tenant)
            self.session.add(tenant)
        self.session.flush()
        known = select(PromptRow).where(PromptRow.tenant_id == tenant.id, PromptRow.name == self.name)
        prompt = self.session.scalar(known) or PromptRow(tenant=tenant, name=self.name)
        self.session.add(prompt)
        self.session.flush()
        return prompt

    def _check_base(self, prompt: PromptRow, manifest: Manifest) -> None:
        others = select(VersionRow).where(VersionRow.prompt_id == prompt.id, VersionRow.removed_at.is_(None)).limit(1)
        other, base = self.session.scalar(others), manifest.base
        if other is not None and other.fingerprint != base.fingerprint:
            raise WrongBaseModel(
                f"{self.name} holds prompts for {other.base} ({other.fingerprint}), this one was made for {base.name} "
                f"({base.fingerprint}): give it another name, since one model answers for all versions of a name"
            )

    def _pointed(self, prompt_id: int, alias: str) -> VersionRow | None:
        """What an alias points to."""
        row = self.session.scalar(select(AliasRow).where(*_is_alias(prompt_id, alias)))
        return None if row is None else row.version

    def _point(self, version: VersionRow, alias: str) -> None:
        """Keep what an alias points to from now on."""
        row = self.session.scalar(select(AliasRow).where(*_is_alias(version.prompt_id, alias)))
        if row is not None:
            row.version = version
            return
        prompt = version.prompt
        names = {"tenant_id": prompt.tenant_id, "prompt": prompt.name, "alias": alias}
        self.session.add(AliasRow(prompt_id=prompt.id, version=version, **names))

    def _check_aliases(self, prompt_id: int, *, is_new: bool) -> None:
        count = select(func.count()).select_from(AliasRow).where(AliasRow.prompt_id == prompt_id)
        if is_new and (self.session.scalar(count) or 0) >= MOST_ALIASES:
            raise SettingError(
                f"{self.name} has {MOST_ALIASES} aliases, as many as a prompt may have: deactivate one first, as "
                f"{self.name}@ALIAS"
            )

    def _forget_after(self, step: ActivationRow) -> None:
        """Delete what an alias was pointed to since."""
        same = ActivationRow.prompt_id == step.prompt_id, ActivationRow.alias == step.alias
        self.session.execute(delete(ActivationRow).where(*same, ActivationRow.id > step.id))

    def _check_unused(self, versions: Sequence[VersionRow]) -> None:
        pointed = aliases_of(self.session, versions[0].prompt_id)
        going = {version.number for version in versions}
        used = {alias: number for alias, number in pointed.items() if number in going}
        for alias, number in used.items():
            reference = self.name if alias == ACTIVE else f"{self.name}@{alias}"
            raise PromptInUse(
                f"{self.name}@{number} is {alias!r}: activate another version first, "
                f"or point the alias to none with `softprompt prompts deactivate {reference}`"
            )

    def _log(self, what: str, version: VersionRow, **details: Any) -> None:
        names = {"tenant": self.tenant, "prompt": self.name, "version": version.number}
        self.session.add(EventRow(at=now(), by=self.by, what=what, details=details, **names))


def check_size(size: int, limit: int | None) -> None:
    """See that a tenant's versions have no more bytes than they may.

    Raises:
        StorageLimitExceeded: they would have.
    """
    if limit is not None and size > limit:
        raise StorageLimitExceeded(
            f"with this one your prompts would have {size:,} bytes, more than {limit:,}: remove versions first"
        )


def _is_alias(prompt_id: int, alias: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return AliasRow.prompt_id == prompt_id, AliasRow.alias == alias


def _steps(prompt_id: int, alias: str) -> Select[ActivationRow]:
    """What an alias was pointed to, the newest first."""
    steps = select(ActivationRow).where(ActivationRow.prompt_id == prompt_id, ActivationRow.alias == alias)
    return steps.order_by(ActivationRow.id.desc())
