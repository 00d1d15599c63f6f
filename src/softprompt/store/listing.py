"""Lists of what tenants have, a page at a time.

Each page is read by indexes in the list's own order: it costs the same however much stands before it and behind it, and
a few statements whatever is on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import CTE, Integer, ScalarSelect, Select, func, literal_column, select, tuple_
from sqlalchemy.orm import Session, contains_eager

from softprompt.store.page import Page
from softprompt.store.tables import AliasRow, EventRow, PromptRow, TenantRow, VersionRow, has_versions
from softprompt.store.version import Alias, StoredPrompt, Version

# The plus keeps SQLite from looking tenants up by their keys: that would be in no order, and all would be sorted.
_TENANT_FIRST = literal_column("+tenants.id", Integer)


class FoundPrompt(NamedTuple):
    """A prompt, as far as its own row tells."""

    id: int
    tenant: str
    name: str
    num_versions: int


def list_prompts(
    session: Session,
    tenant: str | None,
    after: tuple[str, str] | None,
    limit: int,
    containing: str = "",
    newest: int | None = None,
) -> Page[StoredPrompt]:
    """A tenant's prompts, or everybody's, in alphabetical order of tenants and names.

    Args:
        session: the transaction.
        tenant: whose; None for everybody's.
        after: the tenant and the name of the last one before the page; None for the first page.
        limit: how many prompts at most.
        containing: only prompts with this in their names. The tenant's names are looked through for it, not more.
        newest: how many of each prompt's versions, beside those that an alias points to; None for all.
    """
    found = _find_prompts(session, tenant, after, limit + 1, containing)
    page = Page.cut_from(found, limit)
    if not page.items:
        return Page((), False)
    ids = [prompt.id for prompt in page.items]
    aliases, versions = _aliases(session, ids), _versions(session, ids, newest)
    prompts = [
        StoredPrompt(each.tenant, each.name, aliases.get(each.id, {}), versions.get(each.id, ()), each.num_versions)
        for each in page.items
    ]
    return Page(tuple(prompts), page.has_more)


def list_aliases(session: Session, tenant: str, after: tuple[str, str] | None, limit: int) -> Page[Alias]:
    """A tenant's aliases that point to something, in alphabetical order of the prompts' names and their own.

    Args:
        session: the transaction.
        tenant: whose.
        after: the prompt's name and the alias of the last one before the page; None for the first page.
        limit: how many at most.
    """
    query = select(AliasRow).join(AliasRow.version).join(VersionRow.prompt).join(PromptRow.tenant)
    query = query.where(AliasRow.tenant_id == _tenant_id(tenant))
    if after is not None:
        query = query.where(tuple_(AliasRow.prompt, AliasRow.alias) > tuple_(*after))
    whole = contains_eager(AliasRow.version).contains_eager(VersionRow.prompt).contains_eager(PromptRow.tenant)
    query = query.order_by(AliasRow.prompt, AliasRow.alias).limit(limit + 1).options(whole)
    found = [Alias(row.prompt, row.alias, row.version.value()) for row in session.scalars(query)]
    return Page.cut_from(found, limit)


def list_versions(session: Session, tenant: str, name: str, before: int | None, limit: int) -> Page[Version]:
    """A prompt's versions, the newest first.

    Args:
        session: the transaction.
        tenant: whose it is.
        name: the prompt's.
        before: only versions with a smaller number; None for the first page.
        limit: how many at most.
    """
    query = _whole_versions().where(VersionRow.prompt_id == _prompt_id(tenant, name), VersionRow.removed_at.is_(None))
    query = query.order_by(VersionRow.number.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(VersionRow.number < before)
    return Page.cut_from([row.value() for row in session.scalars(query)], limit)


def list_events(tenant: str | None, name: str | None, before: int | None, limit: int | None) -> Select[EventRow]:
    """What was done, the newest first: to whose prompts, to which, before which event, how many at most."""
    query = select(EventRow).order_by(EventRow.id.desc()).limit(limit)
    if tenant is not None:
        query = query.where(EventRow.tenant == tenant)
    if name is not None:
        query = query.where(EventRow.prompt == name)
    return query if before is None else query.where(EventRow.id < before)


def _find_prompts(
    session: Session, tenant: str | None, after: tuple[str, str] | None, limit: int, containing: str
) -> list[FoundPrompt]:
    """Prompts that have a version: the rest of the tenant's that stands in `after`, then those of the next tenants."""
    if tenant is not None:
        return _run(session, _of_tenant(tenant, after and after[1], limit, containing))
    found = [] if after is None else _run(session, _of_tenant(*after, limit, containing))
    if len(found) < limit:
        found += _run(session, _of_tenants(after and after[0], limit - len(found), containing))
    return found


def _run(session: Session, query: Select[int, str, str, int]) -> list[FoundPrompt]:
    return [FoundPrompt(*row) for row in session.execute(query)]


def _of_tenant(tenant: str, after: str | None, limit: int, containing: str) -> Select[int, str, str, int]:
    query = _prompts(containing).join(PromptRow.tenant).where(PromptRow.tenant_id == _tenant_id(tenant))
    own = query.order_by(PromptRow.name).limit(limit)
    return own if after is None else own.where(PromptRow.name > after)


def _of_tenants(after: str | None, limit: int, containing: str) -> Select[int, str, str, int]:
    query = _prompts(containing).join(TenantRow, PromptRow.tenant_id == _TENANT_FIRST)
    several = query.order_by(TenantRow.name, PromptRow.name).limit(limit)
    return several if after is None else several.where(TenantRow.name > after)


def _prompts(containing: str) -> Select[int, str, str, int]:
    query = select(PromptRow.id, TenantRow.name.label("tenant"), PromptRow.name, PromptRow.num_versions)
    query = query.select_from(PromptRow).where(has_versions())
    return query.where(PromptRow.name.contains(containing, autoescape=True)) if containing else query


def _tenant_id(name: str) -> ScalarSelect[int]:
    return select(TenantRow.id).where(TenantRow.name == name).correlate(None).scalar_subquery()


def _prompt_id(tenant: str, name: str) -> ScalarSelect[int]:
    own = select(PromptRow.id).where(PromptRow.tenant_id == _tenant_id(tenant), PromptRow.name == name)
    return own.correlate(None).scalar_subquery()


def _aliases(session: Session, ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """The aliases of prompts, by the prompts' keys: each with the number of the version that it points to."""
    columns = select(AliasRow.prompt_id, AliasRow.alias, VersionRow.number).join(AliasRow.version)
    rows = session.execute(columns.where(AliasRow.prompt_id.in_(ids)).order_by(AliasRow.prompt_id, AliasRow.alias))
    return {key: {alias: number for _, alias, number in own} for key, own in groupby(rows, key=lambda row: row[0])}


def _versions(session: Session, ids: Sequence[int], newest: int | None) -> dict[int, tuple[Version, ...]]:
    """The versions of prompts, by the prompts' keys: all, or so many of the newest and those that have an alias."""
    rows = list(session.scalars(_all_versions(ids) if newest is None else _newest_versions(ids, newest)))
    if newest is not None:
        there = {row.id for row in rows}
        rows += [row for row in session.scalars(_aliased_versions(ids)) if row.id not in there]
    rows.sort(key=lambda row: (row.prompt_id, row.number))
    return {key: tuple(row.value() for row in own) for key, own in groupby(rows, key=lambda row: row.prompt_id)}


def _all_versions(ids: Sequence[int]) -> Select[VersionRow]:
    return _whole_versions().where(VersionRow.prompt_id.in_(ids), VersionRow.removed_at.is_(None))


def _newest_versions(ids: Sequence[int], newest: int) -> Select[VersionRow]:
    oldest = _oldest_shown(ids, newest)
    query = _whole_versions().join(oldest, VersionRow.prompt_id == oldest.c.id)
    return query.where(VersionRow.removed_at.is_(None), VersionRow.number >= oldest.c.number)


def _oldest_shown(ids: Sequence[int], newest: int) -> CTE:
    """Of each prompt the number of the oldest of so many newest versions: one step along an index for each of them."""
    versions = select(VersionRow.number).where(VersionRow.prompt_id == PromptRow.id, VersionRow.removed_at.is_(None))
    number = versions.order_by(VersionRow.number.desc()).limit(1).offset(newest - 1).scalar_subquery()
    shown = select(PromptRow.id, func.coalesce(number, 0).label("number")).where(PromptRow.id.in_(ids))
    return shown.cte("oldest_shown").prefix_with("MATERIALIZED", dialect="postgresql")


def _aliased_versions(ids: Sequence[int]) -> Select[VersionRow]:
    return _whole_versions().join(AliasRow, AliasRow.version_id == VersionRow.id).where(AliasRow.prompt_id.in_(ids))


def _whole_versions() -> Select[VersionRow]:
    query = select(VersionRow).join(VersionRow.prompt).join(PromptRow.tenant)
    return query.options(contains_eager(VersionRow.prompt).contains_eager(PromptRow.tenant))
