"""What nobody needs goes, and nothing else does."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from softprompt.saved import SavedPrompt
from softprompt.store import Store
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
