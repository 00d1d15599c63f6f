"""Whatever happens while a folder is written, its place holds the old or the new, whole."""

from __future__ import annotations

import errno
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from softprompt.errors import DiskFull, SettingError
from softprompt.saved import SavedPrompt
from softprompt.saved.folders import write_file, write_folder
from tests.saved.making import content, make, random_head
from tests.tiny import shared_model
from tests.warm import exit_code

OLD = {"a": b"old", "b": b"old as well", "c": b""}
NEW = {"a": b"new", "d": b"new as well" * 1000}

#: By which every file and folder comes about here, in `os`.
CALLS = ("mkdir", "fsync", "replace", "rename")


class Failing:
    """The n-th of those calls, counted from 1, raises instead."""

    def __init__(self, n: int, error: BaseException):
        self.n, self.error, self.calls = n, error, 0

    def instead_of(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.n:
                raise self.error
            return call(*arguments, **options)

        return counted


def failing(monkeypatch: pytest.MonkeyPatch, n: int, error: BaseException) -> Failing:
    failure = Failing(n, error)
    for name in CALLS:
        monkeypatch.setattr(os, name, failure.instead_of(getattr(os, name)))
    return failure


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def disk_full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(params=["linux", "another"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the kernel's exchange of two paths, and without."""
    if request.param == "another":
        monkeypatch.setattr(sys, "platform", "another")
    return str(request.param)


def test_a_folder_is_written(tmp_path: Path) -> None:
    write_folder(tmp_path / "p", NEW)
    assert content(tmp_path / "p") == NEW


def test_folders_above_are_made(tmp_path: Path) -> None:
    write_folder(tmp_path / "a" / "b" / "p", NEW)
    assert content(tmp_path / "a" / "b" / "p") == NEW


@pytest.mark.usefixtures("platform")
def test_a_folder_is_replaced_with_all_that_was_in_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "p", OLD)
    write_folder(tmp_path / "p", NEW)
    assert content(tmp_path / "p") == NEW
    assert names(tmp_path) == ["p"]


@pytest.mark.usefixtures("platform")
def test_what_lies_beside_is_no_obstacle_and_is_left_alone(tmp_path: Path) -> None:
    """Another process may have been killed there; in a container every process may have the number 1."""
    beside = [f".p.{os.getpid()}.tmp", f".p.{os.getpid()}.old", ".p.tmp", f".p.{'0' * 32}.tmp"]
    for name in beside:
        write_folder(tmp_path / name, OLD)
    (tmp_path / f".a.{os.getpid()}.tmp").write_bytes(b"mine")
    for files in (OLD, NEW):
        write_folder(tmp_path / "p", files)
        write_file(tmp_path / "a", files["a"])
        assert content(tmp_path / "p") == files
    assert (tmp_path / f".a.{os.getpid()}.tmp").read_bytes() == b"mine"
    assert sorted(names(tmp_path)) == sorted([*beside, f".a.{os.getpid()}.tmp", "a", "p"])
    assert all(content(tmp_path / name) == OLD for name in beside)


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    write_folder(tmp_path / "v1", OLD)
    (tmp_path / "current").symlink_to("v1")
    write_folder(tmp_path / "current", NEW)
    assert (tmp_path / "current").is_symlink()
    assert content(tmp_path / "v1") == NEW
    assert sorted(names(tmp_path)) == ["current", "v1"]


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("error", [disk_full(), KeyboardInterrupt(), OSError(errno.EIO, "I/O error")])
def test_a_failure_anywhere_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write_folder(tmp_path / "p", OLD)
    for n in itertools.count(1):
        with monkeypatch.context() as patch:
            failure = failing(patch, n, error)
            with suppress(DiskFull, KeyboardInterrupt, OSError):
                write_folder(tmp_path / "p", NEW)
        if failure.calls < n:
            break
        assert content(tmp_path / "p") == OLD
        assert names(tmp_path) == ["p"]
    assert n > 1 + 2 * len(NEW)
    assert content(tmp_path / "p") == NEW


@pytest.mark.parametrize("error", [disk_full(), KeyboardInterrupt()])
def test_a_failure_anywhere_leaves_nothing_where_nothing_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    for n in itertools.count(1):
        with monkeypatch.context() as patch:
            failure = failing(patch, n, error)
            with suppress(DiskFull, KeyboardInterrupt):
                write_folder(tmp_path / "p", NEW)
        if failure.calls < n:
            break
        assert names(tmp_path) == []
    assert n > 1 + 2 * len(NEW)


def test_a_full_disk_and_a_closed_one_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        failing(patch, 2, disk_full())
        with pytest.raises(DiskFull, match=f"no space left for {tmp_path / 'p'}.*untouched"):
            write_folder(tmp_path / "p", NEW)
    failing(monkeypatch, 1, OSError(errno.EROFS, os.strerror(errno.EROFS)))
    with pytest.raises(SettingError, match=f"{tmp_path / 'p'} cannot be written .*choose another folder"):
        write_folder(tmp_path / "p", NEW)


@pytest.mark.parametrize("n", [1, 2])
def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    write_file(tmp_path / "a", b"old")
    failing(monkeypatch, n, disk_full())
    with pytest.raises(OSError, match="No space left"):
        write_file(tmp_path / "a", b"new")
    assert content(tmp_path) == {"a": b"old"}


def test_killed_while_it_overwrites_a_prompt_is_whole(tmp_path: Path) -> None:
    assert exit_code(kill_while_overwriting, tmp_path / "p") == 0


def kill_while_overwriting(folder: Path, times: int = 30) -> None:
    """Run by itself, in a process with one thread: it forks."""
    prompts = [make(), make(head=random_head(shared_model("llama")))]
    prompts[0].write(folder)
    kept = []
    for round_ in range(times):
        started = time.perf_counter()
        a_write, from_child = os.pipe()
        child = os.fork()
        if child == 0:
            for saved in itertools.cycle([prompts[round_ % 2], prompts[1 - round_ % 2]]):
                saved.write(folder, overwrite=True)
                os.write(from_child, b".")
        os.close(from_child)
        # By its word, not by a clock: on a busy machine nothing may be written for long.
        assert os.read(a_write, 1) == b"."
        time.sleep(random.Random(round_).uniform(0, 2 * (time.perf_counter() - started)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(a_write)
        kept.append([prompt.files for prompt in prompts].index(SavedPrompt.read(folder).files))
        assert content(folder) == prompts[kept[-1]].files
    assert set(kept) == {0, 1}
    assert len(names(folder.parent)) > 1  # some were killed in the middle of it
