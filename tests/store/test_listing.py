"""Long lists: a page at a time, in a few statements, each by an index; and all pages together are the list."""

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

from softprompt.errors import SettingError, UnknownPrompt
from softprompt.saved import SavedPrompt
from softprompt.store import Page, Store
from softprompt.store.change import MOST_ALIASES
from tests.store.conftest import Home
from tests.store.filling import Statements, fill_store

Prompts = list[SavedPrompt]
NAMES = [(tenant, name) for tenant in ("acme", "bolt", "cod") for name in ("a0", "a1", "b0", "z_0")]


def fill(store: Store, saved: SavedPrompt) -> Store:
    """Four prompts of three tenants, each with three versions and two aliases; some keys."""
    fill_store(store, saved, NAMES, versions=3, aliases=["canary"])
    for number in range(5):
        store.keys.create("bolt" if number % 2 else "acme", expires_in=timedelta(days=number + 1))
    return store


@pytest.fixture
def filled(on_disk: Store, saved: Prompts) -> Store:
    """One that is changed."""
    return fill(on_disk, saved[0])


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory, saved: Prompts) -> Iterator[Store]:
    """One that is only read."""
    with Store.open(tmp_path_factory.mktemp("lists") / "store", create=True) as store:
        yield fill(store, saved[0])


def read_all(read: Callable[[Any], Page[Any]]) -> list[Any]:
    """Every page's items; no page but the last may be short."""
    found, last = [], None
    while True:
        page = read(last)
        found += page.items
        if not page.has_more:
            return found
        last = page.items[-1]


@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_pages_together_are_the_list(lists: Store, limit: int) -> None:
    check_pages(lists, limit)


def check_pages(store: Store, limit: int) -> None:
    own = [prompt for prompt in store.prompts() if prompt.tenant == "bolt"]
    pages = read_all(lambda last: store.prompts_page("bolt", limit=limit, after=last and last.name))
    assert pages == own == store.prompts("bolt")
    aliases = read_all(lambda last: store.aliases_page("bolt", limit=limit, after=last and (last.name, last.alias)))
    assert [(each.name, each.alias, each.version.number) for each in aliases] == [
        (prompt.name, alias, number) for prompt in own for alias, number in prompt.aliases.items()
    ]
    versions = read_all(lambda last: store.versions_page("a1", tenant="bolt", limit=limit, before=last and last.number))
    assert tuple(reversed(versions)) == own[1].versions


@pytest.mark.parametrize("at_once", [1, 3, 4])
def test_what_is_gone_through_is_the_list(lists: Store, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lists.prompts(), lists.history(), lists.keys.list("bolt"), lists.keys.list()
    for module in ("store", "keys"):
        monkeypatch.setattr(f"softprompt.store.{module}.AT_ONCE", at_once)
    assert (lists.prompts(), list(lists.iterate_prompts())) == (whole[0], whole[0])
    assert list(lists.iterate_prompts("cod")) == [prompt for prompt in whole[0] if prompt.tenant == "cod"]
    assert list(lists.iterate_history()) == whole[1]
    assert list(lists.iterate_history("bolt", "a1")) == lists.history("bolt", "a1")
    assert (lists.keys.list("bolt"), list(lists.keys.iterate_all())) == whole[2:]
    assert [key.tenant for key in whole[2]] == ["bolt"] * 2


def test_a_page_tells_the_newest_versions_and_those_with_an_alias(filled: Store, saved: Prompts) -> None:
    filled.activate("a0@2", tenant="acme")  # so the first has an alias, the second another, the third none
    filled.deactivate("a1@canary", tenant="acme")
    page = filled.prompts_page("acme", limit=2, newest=1)
    assert [[version.number for version in prompt.versions] for prompt in page.items] == [[1, 2, 3], [3]]
    assert [prompt.num_versions for prompt in page.items] == [3, 3]
    filled.remove("a1@2", tenant="acme")
    [prompt] = filled.prompts_page("acme", limit=1, after="a0", newest=2).items
    assert ([version.number for version in prompt.versions], prompt.num_versions) == ([1, 3], 2)


def test_prompts_are_found_by_a_part_of_their_names(lists: Store) -> None:
    def found(part: str) -> list[str]:
        return [prompt.name for prompt in lists.prompts_page("acme", limit=100, containing=part).items]

    assert found("0") == ["a0", "b0", "z_0"]
    assert found("_") == ["z_0"]  # a letter as any, not one for any letter
    assert found("%") == found("nothing") == []


def test_what_is_not_there_is_in_no_page(filled: Store) -> None:
    assert filled.prompts_page("nobody", limit=5) == Page((), False)
    assert filled.aliases_page("nobody", limit=5) == Page((), False)
    with pytest.raises(UnknownPrompt, match="nobody has no prompt 'a0'"):
        filled.versions_page("a0", tenant="nobody", limit=5)
    for alias in ("active", "canary"):
        filled.deactivate(f"a0@{alias}", tenant="acme")
    assert [each.name for each in filled.aliases_page("acme", limit=1).items] == ["a1"]
    filled.remove("a0", tenant="acme")
    assert [prompt.name for prompt in filled.prompts_page("acme", limit=1).items] == ["a1"]


def test_a_prompt_has_a_limit_of_aliases(on_disk: Store, saved: Prompts) -> None:
    store = on_disk
    fill_store(store, saved[0], [("default", "a")], aliases=[f"alias-{number}" for number in range(MOST_ALIASES - 1)])
    with pytest.raises(SettingError, match=f"a has {MOST_ALIASES} aliases, as many as a prompt may have: deactivate"):
        store.activate("a@1", alias="another")
    store.activate("a@1", alias="alias-1")  # one that is there
    store.deactivate("a@alias-1")
    store.activate("a@1", alias="another")


LISTS: dict[str, Callable[[Store], object]] = {
    "prompts": lambda store: store.prompts_page("bolt", limit=3, after="a1", newest=2),
    "names": lambda store: store.prompts_page("bolt", limit=3, containing="1", newest=2),
    "everybody's": lambda store: store.prompts(),
    "aliases": lambda store: store.aliases_page("bolt", limit=3, after=("a1", "active")),
    "versions": lambda store: store.versions_page("a1", tenant="bolt", limit=1, before=3),
    "an alias": lambda store: store.resolve("a1@canary", tenant="bolt"),
    "the size": lambda store: store.size_of("bolt"),
    "the history": lambda store: store.history(limit=3, before=20),
    "a tenant's history": lambda store: store.history("bolt", limit=3),
    "a prompt's history": lambda store: store.history("bolt", "a1", limit=3),
    "a name's history": lambda store: store.history(name="a1", limit=3),
    "keys": lambda store: store.keys.list("bolt"),
    "all keys": lambda store: store.keys.list(),
}


def test_lists_are_read_by_indexes_in_few_statements(lists: Store) -> None:
    check_plans(lists, Home(lists.place))


def test_the_same_on_postgresql(shared: Home, saved: Prompts) -> None:
    with shared.open(create=True) as store:
        fill(store, saved[0])
        check_pages(store, 3)
        check_plans(store, shared)


def check_plans(store: Store, home: Home) -> None:
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
