"""Queries for pages of prompts, aliases, versions and events.

A page is read by an index in the order of the list: its cost is independent of its position and of the length of the
list, and the number of statements is constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import CTE, Integer, ScalarSelect, Select, func, literal_column, select, tuple_
from sqlalchemy.orm import Session, contains_eager

from softprompt.registry.database_tables import (
    AliasRow,
    AuditEventRow,
    PromptRow,
    TenantRow,
    VersionRow,
    has_versions_clause,
)
from softprompt.registry.pagination import PAGE_SIZE, ResultPage
from softprompt.registry.prompt_queries import make_not_found_error, select_versions_with_prompt
from softprompt.registry.prompt_reference import PromptReference
from softprompt.registry.prompt_version import PromptAlias, PromptVersion, RegisteredPrompt

# Without the plus, SQLite would look tenants up by their keys, and would have to sort all rows.
_UNINDEXED_TENANT_ID = literal_column("+tenants.id", Integer)


class PromptSummary(NamedTuple):
    """The columns of a prompt's own row."""

    id: int
    tenant: str
    name: str
    num_versions: int


def fetch_prompts_page(
    session: Session,
    tenant: str | None,
    after: tuple[str, str] | None,
    limit: int,
    name_contains: str = "",
    num_newest: int | None = None,
) -> ResultPage[RegisteredPrompt]:
    """Fetch a page of the prompts of a tenant, or of all tenants, ordered by tenant and name.

    Args:
        session: the transaction.
        tenant: name of the tenant; None for all tenants.
        after: tenant and name of the last prompt before the page; None for the first page.
        limit: maximum number of prompts.
        name_contains: return only prompts whose names contain this text. It is searched in the tenant's names only.
        num_newest: number of newest versions of each prompt, in addition to those with an alias; None for all versions.
    """
    page = ResultPage.from_results(_fetch_prompts(session, tenant, after, limit + 1, name_contains), limit)
    if not page.items:
        return ResultPage((), False)
    ids = [row.id for row in page.items]
    aliases, versions = _fetch_aliases(session, ids), _fetch_versions(session, ids, num_newest)
    prompts = [
        RegisteredPrompt(row.tenant, row.name, aliases.get(row.id, {}), versions.get(row.id, ()), row.num_versions)
        for row in page.items
    ]
    return ResultPage(tuple(prompts), page.has_more)


def fetch_prompts_after(
    session: Session, tenant: str | None, last: RegisteredPrompt | None
) -> ResultPage[RegisteredPrompt]:
    """Fetch the page of an iteration over prompts that follows a prompt; None for the first page."""
    after = None if last is None else (last.tenant, last.name)
    return fetch_prompts_page(session, tenant, after, PAGE_SIZE)


def fetch_aliases_page(
    session: Session, tenant: str, after: tuple[str, str] | None, limit: int
) -> ResultPage[PromptAlias]:
    """Fetch a page of a tenant's aliases, ordered by prompt name and alias.

    Args:
        session: the transaction.
        tenant: name of the tenant.
        after: prompt name and alias of the last item before the page; None for the first page.
        limit: maximum number of aliases.
    """
    query = select(AliasRow).join(AliasRow.version).join(VersionRow.prompt).join(PromptRow.tenant)
    query = query.where(AliasRow.tenant_id == _tenant_id_subquery(tenant))
    if after is not None:
        query = query.where(tuple_(AliasRow.prompt_name, AliasRow.alias) > tuple_(*after))
    loads_version = contains_eager(AliasRow.version).contains_eager(VersionRow.prompt).contains_eager(PromptRow.tenant)
    query = query.order_by(AliasRow.prompt_name, AliasRow.alias).limit(limit + 1).options(loads_version)
    rows = session.scalars(query)
    aliases = [PromptAlias(row.prompt_name, row.alias, row.version.to_prompt_version()) for row in rows]
    return ResultPage.from_results(aliases, limit)


def fetch_versions_page(
    session: Session, tenant: str, name: str, before: int | None, limit: int
) -> ResultPage[PromptVersion]:
    """Fetch a page of a prompt's versions, newest first.

    Args:
        session: the transaction.
        tenant: name of the tenant.
        name: name of the prompt.
        before: only versions with smaller numbers; None for the first page.
        limit: maximum number of versions.

    Raises:
        PromptNotFound: the tenant has no such prompt.
    """
    query = select_versions_with_prompt().where(
        VersionRow.prompt_id == _prompt_id_subquery(tenant, name), VersionRow.removed_at.is_(None)
    )
    query = query.order_by(VersionRow.number.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(VersionRow.number < before)
    page = ResultPage.from_results([row.to_prompt_version() for row in session.scalars(query)], limit)
    if not page.items and before is None:
        raise make_not_found_error(session, tenant, PromptReference(name))
    return page


def select_events(tenant: str | None, name: str | None, before: int | None, limit: int | None) -> Select[AuditEventRow]:
    """Select events, newest first, of a tenant, of a prompt, older than an event id; None for no restriction."""
    query = select(AuditEventRow).order_by(AuditEventRow.id.desc()).limit(limit)
    if tenant is not None:
        query = query.where(AuditEventRow.tenant == tenant)
    if name is not None:
        query = query.where(AuditEventRow.prompt == name)
    return query if before is None else query.where(AuditEventRow.id < before)


def _fetch_prompts(
    session: Session, tenant: str | None, after: tuple[str, str] | None, limit: int, name_contains: str
) -> list[PromptSummary]:
    """Fetch prompts that have a version: the rest of the cursor's tenant first, then the next tenants."""
    if tenant is not None:
        return _execute_summaries(session, _select_tenant_prompts(tenant, after and after[1], limit, name_contains))
    rows = [] if after is None else _execute_summaries(session, _select_tenant_prompts(*after, limit, name_contains))
    if len(rows) < limit:
        rows += _execute_summaries(session, _select_all_prompts(after and after[0], limit - len(rows), name_contains))
    return rows


def _execute_summaries(session: Session, query: Select[int, str, str, int]) -> list[PromptSummary]:
    return [PromptSummary(*row) for row in session.execute(query)]


def _select_tenant_prompts(
    tenant: str, after: str | None, limit: int, name_contains: str
) -> Select[int, str, str, int]:
    query = _select_prompts(name_contains).join(PromptRow.tenant)
    query = query.where(PromptRow.tenant_id == _tenant_id_subquery(tenant)).order_by(PromptRow.name).limit(limit)
    return query if after is None else query.where(PromptRow.name > after)


def _select_all_prompts(after: str | None, limit: int, name_contains: str) -> Select[int, str, str, int]:
    query = _select_prompts(name_contains).join(TenantRow, PromptRow.tenant_id == _UNINDEXED_TENANT_ID)
    query = query.order_by(TenantRow.name, PromptRow.name).limit(limit)
    return query if after is None else query.where(TenantRow.name > after)


def _select_prompts(name_contains: str) -> Select[int, str, str, int]:
    query = select(PromptRow.id, TenantRow.name.label("tenant"), PromptRow.name, PromptRow.num_versions)
    query = query.select_from(PromptRow).where(has_versions_clause())
    return query.where(PromptRow.name.contains(name_contains, autoescape=True)) if name_contains else query


def _tenant_id_subquery(name: str) -> ScalarSelect[int]:
    return select(TenantRow.id).where(TenantRow.name == name).correlate(None).scalar_subquery()


def _prompt_id_subquery(tenant: str, name: str) -> ScalarSelect[int]:
    query = select(PromptRow.id).where(PromptRow.tenant_id == _tenant_id_subquery(tenant), PromptRow.name == name)
    return query.correlate(None).scalar_subquery()


def _fetch_aliases(session: Session, prompt_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Fetch the aliases of prompts, by prompt id: the version number of each alias."""
    columns = select(AliasRow.prompt_id, AliasRow.alias, VersionRow.number).join(AliasRow.version)
    rows = session.execute(
        columns.where(AliasRow.prompt_id.in_(prompt_ids)).order_by(AliasRow.prompt_id, AliasRow.alias)
    )
    groups = groupby(rows, key=lambda row: row[0])
    return {prompt_id: {alias: number for _, alias, number in group} for prompt_id, group in groups}


def _fetch_versions(
    session: Session, prompt_ids: Sequence[int], num_newest: int | None
) -> dict[int, tuple[PromptVersion, ...]]:
    """Fetch the versions of prompts, by prompt id: all versions, or the newest ones and those with an alias."""
    if num_newest is None:
        rows = list(session.scalars(_select_all_versions(prompt_ids)))
    else:
        rows = list(session.scalars(_select_newest_versions(prompt_ids, num_newest)))
        ids = {row.id for row in rows}
        rows += [row for row in session.scalars(_select_aliased_versions(prompt_ids)) if row.id not in ids]
    rows.sort(key=lambda row: (row.prompt_id, row.number))
    groups = groupby(rows, key=lambda row: row.prompt_id)
    return {prompt_id: tuple(row.to_prompt_version() for row in group) for prompt_id, group in groups}


def _select_all_versions(prompt_ids: Sequence[int]) -> Select[VersionRow]:
    return select_versions_with_prompt().where(VersionRow.prompt_id.in_(prompt_ids), VersionRow.removed_at.is_(None))


def _select_newest_versions(prompt_ids: Sequence[int], num_newest: int) -> Select[VersionRow]:
    oldest = _oldest_shown_cte(prompt_ids, num_newest)
    query = select_versions_with_prompt().join(oldest, VersionRow.prompt_id == oldest.c.id)
    return query.where(VersionRow.removed_at.is_(None), VersionRow.number >= oldest.c.number)


def _oldest_shown_cte(prompt_ids: Sequence[int], num_newest: int) -> CTE:
    """Select the oldest number to show of each prompt, if `num_newest` are shown: one index step for each of them."""
    versions = select(VersionRow.number).where(VersionRow.prompt_id == PromptRow.id, VersionRow.removed_at.is_(None))
    number = versions.order_by(VersionRow.number.desc()).limit(1).offset(num_newest - 1).scalar_subquery()
    shown = select(PromptRow.id, func.coalesce(number, 0).label("number")).where(PromptRow.id.in_(prompt_ids))
    return shown.cte("oldest_shown").prefix_with("MATERIALIZED", dialect="postgresql")


def _select_aliased_versions(prompt_ids: Sequence[int]) -> Select[VersionRow]:
    return (
        select_versions_with_prompt()
        .join(AliasRow, AliasRow.version_id == VersionRow.id)
        .where(AliasRow.prompt_id.in_(prompt_ids))
    )
