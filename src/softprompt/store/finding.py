"""What the database says of one prompt, in the words of one tenant: another's prompt is as unknown as none."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session, contains_eager

from softprompt.errors import UnknownPrompt
from softprompt.store.names import ACTIVE, Reference
from softprompt.store.tables import AliasRow, PromptRow, TenantRow, VersionRow


def find_version(session: Session, tenant: str, reference: Reference) -> VersionRow:
    """The version that is meant, in one read.

    Raises:
        UnknownPrompt: the tenant has none that is.
    """
    found = session.scalar(versions_of(tenant, reference.name).where(_is_at(reference.at)))
    if found is None:
        raise unknown_prompt(session, tenant, reference)
    return found


def find_versions(session: Session, tenant: str, name: str) -> Sequence[VersionRow]:
    """All versions of a prompt, in the order of their numbers.

    Raises:
        UnknownPrompt: the tenant has no such prompt.
    """
    found = session.scalars(versions_of(tenant, name).order_by(VersionRow.number)).all()
    if not found:
        raise unknown_prompt(session, tenant, Reference(name))
    return found


def aliases_of(session: Session, prompt_id: int) -> dict[str, int]:
    """A prompt's aliases, each with the number of the version that it points to."""
    pointing = select(AliasRow.alias, VersionRow.number).join(AliasRow.version).where(AliasRow.prompt_id == prompt_id)
    return {row.alias: row.number for row in session.execute(pointing.order_by(AliasRow.alias))}


def find_by_content(session: Session, content: str) -> Sequence[VersionRow]:
    """The versions, whosever they are, whose folder has this hash."""
    order = TenantRow.name, PromptRow.name, VersionRow.number
    return session.scalars(_versions().where(VersionRow.content == content).order_by(*order)).all()


def tenant_size(session: Session, tenant: str) -> int:
    """Bytes of all versions that a tenant has, each counted by itself."""
    return session.scalar(select(TenantRow.size).where(TenantRow.name == tenant)) or 0


def versions_of(tenant: str, name: str) -> Select[VersionRow]:
    """Those of a prompt that are there, in no order, each with its prompt and its tenant."""
    return _versions().where(TenantRow.name == tenant, PromptRow.name == name)


def unknown_prompt(session: Session, tenant: str, reference: Reference) -> UnknownPrompt:
    """Why nothing was found. To a tenant that has no such prompt it is all the same who else has one."""
    name = reference.name
    newest = session.scalar(versions_of(tenant, name).order_by(VersionRow.number.desc()).limit(1))
    if newest is None:
        return UnknownPrompt(f"{tenant} has no prompt {name!r}: `softprompt prompts list` shows what there is")
    if isinstance(reference.at, int):
        return UnknownPrompt(f"there is no {reference}: the newest version is {name}@{newest.number}")
    wanted = f"no version of {name} is {reference.at or ACTIVE!r}"
    return UnknownPrompt(f"{wanted}: activate one, or name it by its number, such as {name}@{newest.number}")


def _versions() -> Select[VersionRow]:
    query = select(VersionRow).join(VersionRow.prompt).join(PromptRow.tenant).where(VersionRow.removed_at.is_(None))
    return query.options(contains_eager(VersionRow.prompt).contains_eager(PromptRow.tenant))


def _is_at(at: int | str | None) -> ColumnElement[bool]:
    if isinstance(at, int):
        return VersionRow.number == at
    pointed = select(AliasRow.version_id).where(AliasRow.prompt_id == PromptRow.id, AliasRow.alias == (at or ACTIVE))
    return VersionRow.id == pointed.correlate(PromptRow).scalar_subquery()
