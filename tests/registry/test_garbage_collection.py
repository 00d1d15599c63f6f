"""Garbage collection deletes unreferenced artifacts and nothing else."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from tests.registry.bulk_fill import Statements, fill_store
from tests.registry.factories import AT_ONCE, check_nothing_left_over, check_whole, folder_of, stored

Prompts = list[SavedPrompt]


def test_unreferenced_artifacts_are_deleted_and_referenced_ones_are_not(store: PromptRegistry, saved: Prompts) -> None:
    kept = store.register_prompt(saved[0], "reviews", tenant="acme")
    store.register_prompt(saved[0], "reviews", activate=False)
    gone = store.register_prompt(saved[1], "reviews", activate=False)
    store.remove_versions("reviews")
    found = store.collect_garbage(AT_ONCE, actor="ada")
    assert found.digests == (gone.digest,)
    assert gone.size_bytes <= found.size_bytes < gone.size_bytes + 1000  # what is around the files in an object
    assert stored(store) == [kept.digest]
    event = store.list_events(limit=1)[0]
    assert (event.action, event.actor, event.tenant) == ("collect", "ada", None)
    assert event.details == {"contents": [gone.digest], "size": found.size_bytes}
    assert store.collect_garbage(AT_ONCE).digests == ()
    assert store.list_events(limit=1) == [event]  # nothing went, nothing is told


def test_recently_referenced_artifacts_are_not_deleted(on_disk: PromptRegistry, saved: Prompts) -> None:
    store = on_disk
    version = store.register_prompt(saved[0], "reviews", activate=False)
    os.utime(folder_of(store, version), (0, 0))
    store.remove_versions("reviews")
    assert store.collect_garbage().digests == ()
    assert store.collect_garbage(AT_ONCE).digests == (version.digest,)


def test_recently_written_artifacts_without_a_reference_are_not_deleted(
    on_disk: PromptRegistry, saved: Prompts
) -> None:
    store = on_disk
    version = store.register_prompt(saved[0], "reviews", activate=False)
    store.remove_versions("reviews")
    left = Path(store.artifact_location, "0" * 64)
    left.mkdir()
    assert store.collect_garbage(timedelta(minutes=1)).digests == ()
    assert stored(store) == sorted([version.digest, left.name])
    os.utime(left, (0, 0))
    assert store.collect_garbage().digests == (left.name,)


def leave(store: PromptRegistry, count: int) -> list[str]:
    """Folders that nobody needs."""
    names = [f"{number:064x}" for number in range(1, count + 1)]
    for name in names:
        Path(store.artifact_location, name).mkdir(parents=True)
    return names


def test_the_number_of_statements_per_batch_is_bounded(
    on_disk: PromptRegistry, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch needs the same number of statements, and referenced artifacts need none."""
    monkeypatch.setattr("softprompt.registry.garbage_collection.BATCH_SIZE", 5)
    fill_store(on_disk, saved[0], [("acme", "reviews")], versions=40)
    on_disk.register_prompt(saved[0], "kept")
    asked = []
    for count in (5, 20):
        names = leave(on_disk, count)
        with Statements() as statements:
            assert on_disk.collect_garbage(AT_ONCE).digests == tuple(names)
        locked = [statement for statement, _ in statements.asked if "schema" in statement]
        asked.append((len(locked), len(statements)))
        assert len([1 for event in on_disk.list_events(limit=len(locked)) if event.action == "collect"]) == count // 5
    assert asked[1][0] == 4 * asked[0][0]
    assert asked[1][1] <= 4 * asked[0][1]
    with Statements() as statements:
        assert on_disk.collect_garbage(AT_ONCE).digests == ()
    assert not [1 for statement, _ in statements.asked if "schema" in statement]


def test_other_writers_can_register_prompts_between_batches(
    on_disk: PromptRegistry, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softprompt.registry.garbage_collection.BATCH_SIZE", 2)
    names = leave(on_disk, 6)
    kind, added = type(on_disk._artifacts), []
    delete = kind.delete_trash

    def delete_and_add(folders: Any, hidden: Any) -> None:
        added.append(on_disk.register_prompt(saved[0], "reviews", activate=False))
        delete(folders, hidden)

    monkeypatch.setattr(kind, "delete_trash", delete_and_add)
    assert on_disk.collect_garbage(AT_ONCE).digests == tuple(names)
    assert [version.number for version in added] == [1, 2, 3]
    check_whole(on_disk)


def test_a_slow_artifact_store_ends_a_transaction_after_one_artifact(
    store: PromptRegistry, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the time limit exceeded, a transaction moves one artifact to the trash and ends."""
    monkeypatch.setattr("softprompt.registry.garbage_collection.MAX_TRANSACTION_S", 0.0)
    for each in saved[:3]:
        store.register_prompt(each, "reviews", activate=False)
    store.remove_versions("reviews")
    progress: list[tuple[int, int]] = []
    found = store.collect_garbage(AT_ONCE, on_progress=lambda done, total: progress.append((done, total)))
    assert progress == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert list(found.digests) == sorted(found.digests)
    events = [event.details["contents"] for event in reversed(store.list_events()) if event.action == "collect"]
    assert events == [[content] for content in found.digests]
    assert len(events) == 3
    assert stored(store) == []


def test_artifacts_referenced_after_the_scan_are_not_deleted(store: PromptRegistry, saved: Prompts) -> None:
    store.register_prompt(saved[0], "old", activate=False)
    store.remove_versions("old")

    def named_again(done: int, total: int) -> None:
        if done == 0 < total:
            store.register_prompt(saved[0], "reviews")

    assert store.collect_garbage(AT_ONCE, on_progress=named_again).digests == ()
    check_whole(store)


def test_an_artifact_collected_during_its_addition_is_written_again(
    store: PromptRegistry, saved: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unreferenced artifact exists, so it is not written, and is then collected before the transaction begins."""
    store.register_prompt(saved[0], "old", activate=False)
    store.remove_versions("old")
    kind, times = type(store._artifacts), []
    put = kind.write_artifact

    def put_and_collected(*arguments: object) -> None:
        put(*arguments)  # type: ignore[arg-type]
        times.append(1)
        if len(times) == 1:
            assert len(store.collect_garbage(AT_ONCE).digests) == 1

    monkeypatch.setattr(kind, "write_artifact", put_and_collected)
    version = store.register_prompt(saved[0], "reviews")
    assert len(times) == 2
    assert store.load_prompt(version).files == saved[0].files
    check_whole(store)
    check_nothing_left_over(store)
