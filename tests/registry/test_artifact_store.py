"""Artifacts in local folders: atomic writes, repair by writing again, and removal of leftovers."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from softprompt.errors import DiskFull
from softprompt.registry.local_artifact_store import LocalArtifactStore

FILES = {"a.json": b"{}", "b.safetensors": b"numbers"}
HASH, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def folders(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "prompts")


def names(folders: LocalArtifactStore) -> list[str]:
    return sorted(path.name for path in folders.root.iterdir()) if folders.root.exists() else []


def test_a_written_artifact_is_listed_and_read_unchanged(folders: LocalArtifactStore) -> None:
    assert [kept.digest for kept in folders.list_artifacts()] == []
    assert not folders.has_artifact(HASH)
    folders.write_artifact(HASH, FILES)
    folders.write_artifact(HASH, FILES)
    assert folders.has_artifact(HASH)
    assert folders.read_files(HASH) == FILES
    assert [kept.digest for kept in folders.list_artifacts()] == names(folders) == [HASH]


def test_writing_a_corrupt_artifact_again_repairs_it(folders: LocalArtifactStore) -> None:
    folders.write_artifact(HASH, FILES)
    ((folders.root / HASH) / "a.json").write_bytes(b"[]")
    ((folders.root / HASH) / "more").mkdir()
    folders.write_artifact(HASH, FILES)
    assert folders.read_files(HASH) == FILES
    assert names(folders) == [HASH]


def test_two_processes_can_write_the_same_artifact_simultaneously(
    folders: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def overtaken(source: Any, target: Any, **options: Any) -> None:
        monkeypatch.setattr(os, "rename", rename)
        LocalArtifactStore(folders.root).write_artifact(HASH, FILES)
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", overtaken)
    folders.write_artifact(HASH, FILES)
    assert folders.read_files(HASH) == FILES
    assert names(folders) == [HASH]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_full_disk_at_any_call_leaves_the_old_or_the_new_artifact(
    folders: LocalArtifactStore, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    if damaged:
        folders.write_artifact(HASH, {"a.json": b"[]"})
    before = names(folders)

    def failing(call: Callable[..., Any], calls: itertools.count[int], n: int) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if next(calls) == n:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*arguments, **options)

        return counted

    for n in itertools.count():
        with monkeypatch.context() as patch:
            calls = itertools.count()
            for name in ("mkdir", "fsync", "replace", "rename"):
                patch.setattr(os, name, failing(getattr(os, name), calls, n))
            try:
                folders.write_artifact(HASH, FILES)
                break
            except DiskFull:
                # Once it is in its place, whole, it may stay: nothing names it yet.
                assert names(folders) in (before, [HASH])
                with suppress(OSError):
                    assert folders.read_files(HASH) in ({"a.json": b"[]"}, FILES)
    assert n > 5
    assert folders.read_files(HASH) == FILES


def test_remove_leftovers_deletes_trashed_artifacts_and_old_temporary_folders_only(folders: LocalArtifactStore) -> None:
    folders.write_artifact(HASH, FILES)
    folders.write_artifact(OTHER, FILES)
    new, old, replaced = (f".softprompt-{i:032x}.{ending}" for i, ending in enumerate(("tmp", "tmp", "old")))
    for name in (new, old, replaced):
        (folders.root / name).mkdir()
    for name in (old, replaced, OTHER):
        os.utime(folders.root / name, (0, 0))
    folders.trash_artifact(HASH)
    assert not folders.has_artifact(HASH)
    folders.remove_leftovers()
    assert names(folders) == [new, OTHER]


def test_remove_leftovers_does_not_delete_foreign_entries(folders: LocalArtifactStore) -> None:
    folders.root.mkdir()
    (folders.root / "reviews").mkdir()
    os.utime(folders.root / "reviews", (0, 0))
    folders.remove_leftovers()
    assert [kept.digest for kept in folders.list_artifacts()] == []
    assert names(folders) == ["reviews"]
