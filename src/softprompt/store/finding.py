"""What the database says of prompts, in the words of one tenant: another's prompt is as unknown as none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session, contains_eager

from softprompt.errors import UnknownPrompt
from softprompt.store.names import ACTIVE, Reference
from softprompt.store.tables import ActivationRow, PromptRow, TenantRow, VersionRow
from softprompt.store.version import StoredPrompt


def find_version(session: Session, tenant: str, reference: Reference) -> VersionRow:
    """The version that is meant, in one read.

    Raises:
        UnknownPrompt: the tenant has none that is.
    """
    found = session.scalar(_versions(tenant, reference.name).where(_is_at(reference.at)))
    if found is None:
        raise _unknown(session, tenant, reference)
    return found


def find_versions(session: Session, tenant: str, name: str) -> Sequence[VersionRow]:
    """All versions of a prompt, in the order of their numbers.

    Raises:
        UnknownPrompt: the tenant has no such prompt.
    """
    found = session.scalars(_versions(tenant, name)).all()
    if not found:
        raise _unknown(session, tenant, Reference(name))
    return found


def list_prompts(session: Session, tenant: str | None) -> list[StoredPrompt]:
    """A tenant's prompts, or everybody's, in alphabetical order."""
    aliases: dict[int, dict[str, int]] = {}
    pointing = _aliases().join(VersionRow.prompt).join(PromptRow.tenant)
    if tenant is not None:
        pointing = pointing.where(TenantRow.name == tenant)
    for prompt_id, alias, number in session.execute(pointing):
        aliases.setdefault(prompt_id, {})[alias] = number
    rows = session.scalars(_versions(tenant)).all()
    return [
        StoredPrompt(prompt.tenant.name, prompt.name, aliases.get(prompt.id, {}), tuple(row.value() for row in own))
        for prompt, own in groupby(rows, key=lambda row: row.prompt)
    ]


def aliases_of(session: Session, prompt_id: int) -> dict[str, int]:
    """A prompt's aliases, each with the number of the version that it points to."""
    return {alias: number for _, alias, number in session.execute(_aliases(prompt_id))}


def with_content(session: Session, content: str) -> Sequence[VersionRow]:
    """The versions, whosever they are, whose folder has this hash."""
    return session.scalars(_versions().where(VersionRow.content == content)).all()


def _versions(tenant: str | None = None, name: str | None = None) -> Select[VersionRow]:
    """Those that are there, each with its prompt and its tenant."""
    query = select(VersionRow).join(VersionRow.prompt).join(PromptRow.tenant).where(VersionRow.removed_at.is_(None))
    if tenant is not None:
        query = query.where(TenantRow.name == tenant)
    if name is not None:
        query = query.where(PromptRow.name == name)
    whole = contains_eager(VersionRow.prompt).contains_eager(PromptRow.tenant)
    return query.options(whole).order_by(TenantRow.name, PromptRow.name, VersionRow.number)


def _is_at(at: int | str | None) -> ColumnElement[bool]:
    if isinstance(at, int):
        return VersionRow.number == at
    newest = (
        select(ActivationRow.version_id)
        .where(ActivationRow.prompt_id == PromptRow.id, ActivationRow.alias == (at or ACTIVE))
        .order_by(ActivationRow.id.desc())
        .limit(1)
    )
    return VersionRow.id == newest.correlate(PromptRow).scalar_subquery()


def _aliases(prompt_id: int | None = None) -> Select[int, str, int]:
    """The aliases that point to a version: the prompt's key, the alias, the version's number."""
    newest = select(func.max(ActivationRow.id)).group_by(ActivationRow.prompt_id, ActivationRow.alias)
    if prompt_id is not None:
        newest = newest.where(ActivationRow.prompt_id == prompt_id)
    columns = select(ActivationRow.prompt_id, ActivationRow.alias, VersionRow.number)
    return columns.join(ActivationRow.version).where(ActivationRow.id.in_(newest)).order_by(ActivationRow.alias)


def _unknown(session: Session, tenant: str, reference: Reference) -> UnknownPrompt:
    """Why nothing was found. To a tenant that has no such prompt it is all the same who else has one."""
    name, numbers = reference.name, [row.number for row in session.scalars(_versions(tenant, reference.name))]
    if not numbers:
        return UnknownPrompt(f"{tenant} has no prompt {name!r}: `softprompt prompts list` shows what there is")
    if isinstance(reference.at, int):
        return UnknownPrompt(f"there is no {reference}: the newest version is {name}@{numbers[-1]}")
    wanted = f"no version of {name} is {reference.at or ACTIVE!r}"
    return UnknownPrompt(f"{wanted}: activate one, or name it by its number, such as {name}@{numbers[-1]}")
