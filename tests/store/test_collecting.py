"""What nobody needs goes, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from softprompt.saved import SavedPrompt
from softprompt.store import Store
from softprompt.store.folders import Kept
from tests.store.filling import Statements, fill_store
from tests.store.making import AT_ONCE, check_nothing_left_over, check_whole, folder_of, stored

Prompts = list[SavedPrompt]


def test_what_a_version_needs_stays(store: Store, saved: Prompts) -> None:
    kept = store.add(saved[0], "reviews", tenant="acme")
    store.add(saved[0], "reviews", activate=False)
    gone = store.add(saved[1], "reviews", activate=False)
    store.remove("reviews")
    found = store.collect(AT_ONCE, by="ada")
    assert found.contents == (gone.content,)
    assert gone.size <= found.size < gone.size + 1000  # what is around the files in an object
    assert stored(store) == [kept.content]
    event = store.history(limit=1)[0]
    assert (event.what, event.by, event.tenant) == ("collect", "ada", None)
    assert event.details == {"contents": [gone.content], "size": found.size}
    assert store.collect(AT_ONCE).contents == ()
    assert store.history(limit=1) == [event]  # nothing went, nothing is told


def test_what_was_needed_a_moment_ago_stays(on_disk: Store, saved: Prompts) -> None:
    store = on_disk
    version = store.add(saved[0], "reviews", activate=False)
    os.utime(folder_of(store, version), (0, 0))
    store.remove("reviews")
    assert store.collect().contents == ()
    assert store.collect(AT_ONCE).contents == (version.content,)


def test_what_is_about_to_be_added_stays(on_disk: Store, saved: Prompts) -> None:
    store = on_disk
    version = store.add(saved[0], "reviews", activate=False)
    store.remove("reviews")
    left = Path(store.prompts_at, "0" * 64)
    left.mkdir()
    assert store.collect(timedelta(minutes=1)).contents == ()
    assert stored(store) == sorted([version.content, left.name])
    os.utime(left, (0, 0))
    assert store.collect().contents == (left.name,)


def leave(store: Store, count: int) -> list[str]:
    """Folders that nobody needs."""
    names = [f"{number:064x}" for number in range(1, count + 1)]
    for name in names:
        Path(store.prompts_at, name).mkdir(parents=True)
    return names


def test_what_there_is_to_do_under_the_lock_does_not_grow(
    on_disk: Store, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch at a time, in as many statements whatever else there is; of folders that are needed, none."""
    monkeypatch.setattr("softprompt.store.collecting.AT_ONCE", 5)
    fill_store(on_disk, saved[0], [("acme", "reviews")], versions=40)
    on_disk.add(saved[0], "kept")
    asked = []
    for count in (5, 20):
        names = leave(on_disk, count)
        with Statements() as statements:
            assert on_disk.collect(AT_ONCE).contents == tuple(names)
        locked = [statement for statement, _ in statements.asked if "schema" in statement]
        asked.append((len(locked), len(statements)))
        assert len([1 for event in on_disk.history(limit=len(locked)) if event.what == "collect"]) == count // 5
    assert asked[1][0] == 4 * asked[0][0]
    assert asked[1][1] <= 4 * asked[0][1]
    with Statements() as statements:
        assert on_disk.collect(AT_ONCE).contents == ()
    assert not [1 for statement, _ in statements.asked if "schema" in statement]


def test_others_write_between_batches(on_disk: Store, saved: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softprompt.store.collecting.AT_ONCE", 2)
    names = leave(on_disk, 6)
    kind, added = type(on_disk._folders), []
    delete = kind.delete

    def delete_and_add(folders: Any, hidden: Any) -> None:
        added.append(on_disk.add(saved[0], "reviews", activate=False))
        delete(folders, hidden)

    monkeypatch.setattr(kind, "delete", delete_and_add)
    assert on_disk.collect(AT_ONCE).contents == tuple(names)
    assert [version.number for version in added] == [1, 2, 3]
    check_whole(on_disk)


def test_a_slow_place_holds_no_lock_for_long(store: Store, saved: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no time is left, a transaction hides one folder and ends."""
    monkeypatch.setattr("softprompt.store.collecting.LONGEST", 0.0)
    for each in saved[:3]:
        store.add(each, "reviews", activate=False)
    store.remove("reviews")
    told: list[Kept] = []

    def tracked(folders: Sequence[Kept]) -> Iterator[Kept]:
        for each in folders:
            told.append(each)
            yield each

    found = store.collect(AT_ONCE, tracked=tracked)
    assert [kept.content for kept in told] == list(found.contents)
    events = [event.details["contents"] for event in reversed(store.history()) if event.what == "collect"]
    assert events == [[content] for content in found.contents]
    assert len(events) == 3
    assert stored(store) == []


def test_what_is_named_again_after_it_was_found_unneeded_stays(store: Store, saved: Prompts) -> None:
    store.add(saved[0], "old", activate=False)
    store.remove("old")

    def named_again(folders: Sequence[Kept]) -> Iterator[Kept]:
        store.add(saved[0], "reviews")
        return iter(folders)

    assert store.collect(AT_ONCE, tracked=named_again).contents == ()
    check_whole(store)


def test_what_is_collected_while_it_is_added_is_put_again(
    store: Store, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there already, for nobody, so nothing was written; then it is collected before the transaction begins."""
    store.add(saved[0], "old", activate=False)
    store.remove("old")
    kind, times = type(store._folders), []
    put = kind.put

    def put_and_collected(*arguments: object) -> None:
        put(*arguments)  # type: ignore[arg-type]
        times.append(1)
        if len(times) == 1:
            assert len(store.collect(AT_ONCE).contents) == 1

    monkeypatch.setattr(kind, "put", put_and_collected)
    version = store.add(saved[0], "reviews")
    assert len(times) == 2
    assert store.read(version).files == saved[0].files
    check_whole(store)
    check_nothing_left_over(store)
