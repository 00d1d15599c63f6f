"""Pages of long lists: together they are the complete list, and each needs few statements, which use indexes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from softprompt.errors import PromptNotFound, SettingError
from softprompt.registry import PromptRegistry, ResultPage
from softprompt.registry.prompt_mutation import MAX_ALIASES
from softprompt.saved import SavedPrompt
from tests.registry.bulk_fill import Statements, fill_store
from tests.registry.conftest import Home

Prompts = list[SavedPrompt]
NAMES = [(tenant, name) for tenant in ("acme", "bolt", "cod") for name in ("a0", "a1", "b0", "z_0")]


def fill(store: PromptRegistry, saved: SavedPrompt) -> PromptRegistry:
    """Four prompts of three tenants, each with three versions and two aliases; some keys."""
    fill_store(store, saved, NAMES, versions=3, aliases=["canary"])
    for number in range(5):
        store.api_keys.create_key("bolt" if number % 2 else "acme", expires_in=timedelta(days=number + 1))
    return store


@pytest.fixture
def filled(on_disk: PromptRegistry, saved: Prompts) -> PromptRegistry:
    """One that is changed."""
    return fill(on_disk, saved[0])


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory, saved: Prompts) -> Iterator[PromptRegistry]:
    """One that is only read."""
    with PromptRegistry.open(tmp_path_factory.mktemp("lists") / "store", create=True) as store:
        yield fill(store, saved[0])


def read_all(read: Callable[[Any], ResultPage[Any]]) -> list[Any]:
    """Every page's items; no page but the last may be short."""
    found, last = [], None
    while True:
        page = read(last)
        found += page.items
        if not page.has_more:
            return found
        last = page.items[-1]


@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_pages_of_any_size_join_to_the_complete_list(lists: PromptRegistry, limit: int) -> None:
    check_pages(lists, limit)


def check_pages(store: PromptRegistry, limit: int) -> None:
    own = [prompt for prompt in store.list_prompts() if prompt.tenant == "bolt"]
    pages = read_all(lambda last: store.get_prompts_page("bolt", limit=limit, after=last and last.name))
    assert pages == own == store.list_prompts("bolt")
    aliases = read_all(lambda last: store.get_aliases_page("bolt", limit=limit, after=last and (last.name, last.alias)))
    assert [(each.name, each.alias, each.version.number) for each in aliases] == [
        (prompt.name, alias, number) for prompt in own for alias, number in prompt.aliases.items()
    ]
    versions = read_all(
        lambda last: store.get_versions_page("a1", tenant="bolt", limit=limit, before=last and last.number)
    )
    assert tuple(reversed(versions)) == own[1].versions


@pytest.mark.parametrize("at_once", [1, 3, 4])
def test_iterators_with_any_page_size_yield_the_complete_list(
    lists: PromptRegistry, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (
        lists.list_prompts(),
        lists.list_events(),
        list(lists.api_keys.iterate_keys("bolt")),
        list(lists.api_keys.iterate_keys()),
    )
    for module in ("prompt_registry", "page_queries", "api_key_registry"):
        monkeypatch.setattr(f"softprompt.registry.{module}.PAGE_SIZE", at_once)
    assert (lists.list_prompts(), list(lists.iterate_prompts())) == (whole[0], whole[0])
    assert list(lists.iterate_prompts("cod")) == [prompt for prompt in whole[0] if prompt.tenant == "cod"]
    assert list(lists.iterate_events()) == whole[1]
    assert list(lists.iterate_events("bolt", "a1")) == lists.list_events("bolt", "a1")
    assert (list(lists.api_keys.iterate_keys("bolt")), list(lists.api_keys.iterate_keys())) == whole[2:]
    assert [key.tenant for key in whole[2]] == ["bolt"] * 2


def test_a_page_of_prompts_has_the_newest_versions_and_those_with_an_alias(
    filled: PromptRegistry, saved: Prompts
) -> None:
    filled.activate_version("a0@2", tenant="acme")  # so the first has an alias, the second another, the third none
    filled.deactivate_alias("a1@canary", tenant="acme")
    page = filled.get_prompts_page("acme", limit=2, num_newest=1)
    assert [[version.number for version in prompt.versions] for prompt in page.items] == [[1, 2, 3], [3]]
    assert [prompt.num_versions for prompt in page.items] == [3, 3]
    filled.remove_versions("a1@2", tenant="acme")
    [prompt] = filled.get_prompts_page("acme", limit=1, after="a0", num_newest=2).items
    assert ([version.number for version in prompt.versions], prompt.num_versions) == ([1, 3], 2)


def test_pages_can_be_filtered_by_a_literal_part_of_the_name(lists: PromptRegistry) -> None:
    def found(part: str) -> list[str]:
        return [prompt.name for prompt in lists.get_prompts_page("acme", limit=100, name_contains=part).items]

    assert found("0") == ["a0", "b0", "z_0"]
    assert found("_") == ["z_0"]  # a letter as any, not one for any letter
    assert found("%") == found("nothing") == []


def test_pages_exclude_missing_and_removed_entries(filled: PromptRegistry) -> None:
    assert filled.get_prompts_page("nobody", limit=5) == ResultPage((), False)
    assert filled.get_aliases_page("nobody", limit=5) == ResultPage((), False)
    with pytest.raises(PromptNotFound, match="nobody has no prompt 'a0'"):
        filled.get_versions_page("a0", tenant="nobody", limit=5)
    for alias in ("active", "canary"):
        filled.deactivate_alias(f"a0@{alias}", tenant="acme")
    assert [each.name for each in filled.get_aliases_page("acme", limit=1).items] == ["a1"]
    filled.remove_versions("a0", tenant="acme")
    assert [prompt.name for prompt in filled.get_prompts_page("acme", limit=1).items] == ["a1"]


def test_activating_more_aliases_than_the_limit_is_rejected(on_disk: PromptRegistry, saved: Prompts) -> None:
    store = on_disk
    fill_store(store, saved[0], [("default", "a")], aliases=[f"alias-{number}" for number in range(MAX_ALIASES - 1)])
    with pytest.raises(SettingError, match=f"a has {MAX_ALIASES} aliases, the largest permitted number: deactivate"):
        store.activate_version("a@1", alias="another")
    store.activate_version("a@1", alias="alias-1")  # one that is there
    store.deactivate_alias("a@alias-1")
    store.activate_version("a@1", alias="another")


LISTS: dict[str, Callable[[PromptRegistry], object]] = {
    "prompts": lambda store: store.get_prompts_page("bolt", limit=3, after="a1", num_newest=2),
    "names": lambda store: store.get_prompts_page("bolt", limit=3, name_contains="1", num_newest=2),
    "everybody's": lambda store: store.list_prompts(),
    "aliases": lambda store: store.get_aliases_page("bolt", limit=3, after=("a1", "active")),
    "versions": lambda store: store.get_versions_page("a1", tenant="bolt", limit=1, before=3),
    "an alias": lambda store: store.resolve_version("a1@canary", tenant="bolt"),
    "the size": lambda store: store.get_tenant_size("bolt"),
    "the history": lambda store: store.list_events(limit=3, before=20),
    "a tenant's history": lambda store: store.list_events("bolt", limit=3),
    "a prompt's history": lambda store: store.list_events("bolt", "a1", limit=3),
    "a name's history": lambda store: store.list_events(name="a1", limit=3),
    "keys": lambda store: list(store.api_keys.iterate_keys("bolt")),
    "all keys": lambda store: list(store.api_keys.iterate_keys()),
}


def test_lists_are_read_by_indexes_in_few_statements(lists: PromptRegistry) -> None:
    check_plans(lists, Home(lists.location))


def test_pages_on_postgresql_join_to_the_complete_list_and_use_indexes(shared: Home, saved: Prompts) -> None:
    with shared.open(create=True) as store:
        fill(store, saved[0])
        check_pages(store, 3)
        check_plans(store, shared)


def check_plans(store: PromptRegistry, home: Home) -> None:
    for name, read in LISTS.items():
        with Statements() as statements:
            read(store)
        assert len(statements) <= 4, name
        for statement, parameters in statements.asked:
            plan = explain(home, statement, parameters)
            if name == "everybody's":  # in the order of tenants; one tenant's names may be sorted when they are read
                plan = re.sub(r"Incremental Sort|TEMP B-TREE FOR (LAST TERM|RIGHT PART)", "", plan)
            assert not re.search(r"Seq Scan|Sort(?! Key)|SCAN (?!oldest_shown|.* USING)|TEMP B-TREE", plan), plan


def explain(home: Home, statement: str, parameters: Any) -> str:
    """How the database runs a statement where tables are large."""
    if home.prompts is None:
        with closing(sqlite3.connect(Path(home.place) / "store.sqlite")) as connection:
            rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
        return "\n".join(row[3] for row in rows)
    with psycopg.connect(home.place) as connected:
        connected.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")
        connected.execute("SET enable_hashjoin = off; SET enable_mergejoin = off")
        return "\n".join(row[0] for row in connected.execute(f"EXPLAIN {statement}", parameters))
