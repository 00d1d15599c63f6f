"""Folders by their hash: whole or not at all, put once, mended, swept."""

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
from softprompt.store.local_folders import LocalFolders

FILES = {"a.json": b"{}", "b.safetensors": b"numbers"}
HASH, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def folders(tmp_path: Path) -> LocalFolders:
    return LocalFolders(tmp_path / "prompts")


def names(folders: LocalFolders) -> list[str]:
    return sorted(path.name for path in folders.root.iterdir()) if folders.root.exists() else []


def test_what_is_put_is_there(folders: LocalFolders) -> None:
    assert [kept.content for kept in folders.listed()] == []
    assert not folders.holds(HASH)
    folders.put(HASH, FILES)
    folders.put(HASH, FILES)
    assert folders.holds(HASH)
    assert folders.files(HASH) == FILES
    assert [kept.content for kept in folders.listed()] == names(folders) == [HASH]


def test_a_damaged_folder_is_mended(folders: LocalFolders) -> None:
    folders.put(HASH, FILES)
    ((folders.root / HASH) / "a.json").write_bytes(b"[]")
    ((folders.root / HASH) / "more").mkdir()
    folders.put(HASH, FILES)
    assert folders.files(HASH) == FILES
    assert names(folders) == [HASH]


def test_another_may_put_the_same_at_the_same_moment(folders: LocalFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def overtaken(source: Any, target: Any, **options: Any) -> None:
        monkeypatch.setattr(os, "rename", rename)
        LocalFolders(folders.root).put(HASH, FILES)
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", overtaken)
    folders.put(HASH, FILES)
    assert folders.files(HASH) == FILES
    assert names(folders) == [HASH]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_full_disk_anywhere_changes_nothing(
    folders: LocalFolders, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    if damaged:
        folders.put(HASH, {"a.json": b"[]"})
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
                folders.put(HASH, FILES)
                break
            except DiskFull:
                # Once it is in its place, whole, it may stay: nothing names it yet.
                assert names(folders) in (before, [HASH])
                with suppress(OSError):
                    assert folders.files(HASH) in ({"a.json": b"[]"}, FILES)
    assert n > 5
    assert folders.files(HASH) == FILES


def test_what_was_hidden_is_swept_and_what_is_being_written_is_not(folders: LocalFolders) -> None:
    folders.put(HASH, FILES)
    folders.put(OTHER, FILES)
    new, old, replaced = (f".softprompt-{i:032x}.{ending}" for i, ending in enumerate(("tmp", "tmp", "old")))
    for name in (new, old, replaced):
        (folders.root / name).mkdir()
    for name in (old, replaced, OTHER):
        os.utime(folders.root / name, (0, 0))
    folders.hide(HASH)
    assert not folders.holds(HASH)
    folders.sweep()
    assert names(folders) == [new, OTHER]


def test_what_else_lies_there_is_left_alone(folders: LocalFolders) -> None:
    folders.root.mkdir()
    (folders.root / "reviews").mkdir()
    os.utime(folders.root / "reviews", (0, 0))
    folders.sweep()
    assert [kept.content for kept in folders.listed()] == []
    assert names(folders) == ["reviews"]
