"""Queries about one prompt of one tenant. Prompts of other tenants look as if they did not exist."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session, contains_eager

from softprompt.errors import PromptNotFound
from softprompt.registry.database_tables import AliasRow, PromptRow, TenantRow, VersionRow
from softprompt.registry.prompt_reference import ACTIVE_ALIAS, PromptReference


def fetch_version(session: Session, tenant: str, reference: PromptReference) -> VersionRow:
    """Fetch the version of a reference in one query.

    Raises:
        PromptNotFound: the tenant has no such version.
    """
    version = session.scalar(select_versions(tenant, reference.name).where(_match_selector(reference.selector)))
    if version is None:
        raise make_not_found_error(session, tenant, reference)
    return version


def fetch_versions(session: Session, tenant: str, name: str) -> Sequence[VersionRow]:
    """Fetch all versions of a prompt in ascending order.

    Raises:
        PromptNotFound: the tenant has no such prompt.
    """
    versions = session.scalars(select_versions(tenant, name).order_by(VersionRow.number)).all()
    if not versions:
        raise make_not_found_error(session, tenant, PromptReference(name))
    return versions


def fetch_aliases(session: Session, prompt_id: int) -> dict[str, int]:
    """Fetch the aliases of a prompt, each with its version number."""
    query = select(AliasRow.alias, VersionRow.number).join(AliasRow.version).where(AliasRow.prompt_id == prompt_id)
    return {row.alias: row.number for row in session.execute(query.order_by(AliasRow.alias))}


def fetch_versions_by_digest(session: Session, digest: str) -> Sequence[VersionRow]:
    """Fetch the versions, of all tenants, that reference an artifact."""
    order = TenantRow.name, PromptRow.name, VersionRow.number
    return session.scalars(_select_present_versions().where(VersionRow.digest == digest).order_by(*order)).all()


def fetch_tenant_size(session: Session, tenant: str) -> int:
    """Fetch the total size of a tenant's versions in bytes. An artifact counts once for each version."""
    return session.scalar(select(TenantRow.size_bytes).where(TenantRow.name == tenant)) or 0


def select_versions(tenant: str, name: str) -> Select[VersionRow]:
    """Select the versions of a prompt, unordered, with prompt and tenant loaded."""
    return _select_present_versions().where(TenantRow.name == tenant, PromptRow.name == name)


def select_versions_with_prompt() -> Select[VersionRow]:
    """Select versions, including removed ones, with prompt and tenant joined and loaded."""
    query = select(VersionRow).join(VersionRow.prompt).join(PromptRow.tenant)
    return query.options(contains_eager(VersionRow.prompt).contains_eager(PromptRow.tenant))


def make_not_found_error(session: Session, tenant: str, reference: PromptReference) -> PromptNotFound:
    """Make the error for a reference that matches nothing. It never reveals whether another tenant has the prompt."""
    name = reference.name
    newest = session.scalar(select_versions(tenant, name).order_by(VersionRow.number.desc()).limit(1))
    if newest is None:
        return PromptNotFound(f"{tenant} has no prompt {name!r}: `softprompt prompts list` shows the existing ones")
    if isinstance(reference.selector, int):
        return PromptNotFound(f"{reference} does not exist: the newest version is {name}@{newest.number}")
    problem = f"no version of {name} is {reference.selector or ACTIVE_ALIAS!r}"
    return PromptNotFound(f"{problem}: activate one, or use its number, such as {name}@{newest.number}")


def _select_present_versions() -> Select[VersionRow]:
    return select_versions_with_prompt().where(VersionRow.removed_at.is_(None))


def _match_selector(selector: int | str | None) -> ColumnElement[bool]:
    if isinstance(selector, int):
        return VersionRow.number == selector
    query = select(AliasRow.version_id).where(
        AliasRow.prompt_id == PromptRow.id, AliasRow.alias == (selector or ACTIVE_ALIAS)
    )
    return VersionRow.id == query.correlate(PromptRow).scalar_subquery()
