"""Whatever fails while a folder is written, its path has the old content or the new."""

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

from softprompt.atomic import atomic_create_folder, atomic_write_file, atomic_write_folder
from softprompt.errors import DiskFull, SettingError
from softprompt.saved import SavedPrompt
from tests.saved.factories import content, make, random_head
from tests.tiny import shared_model
from tests.warm import exit_code

OLD = {"a": b"old", "b": b"old as well", "c": b""}
NEW = {"a": b"new", "d": b"new as well" * 1000}

#: Functions of `os` that create every file and folder here.
CALLS = ("mkdir", "fsync", "replace", "rename")


class FailureInjector:
    """Injects an error in place of the n-th call, counted from 1."""

    def __init__(self, n: int, error: BaseException):
        self.n, self.error, self.calls = n, error, 0

    def instead_of(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.n:
                raise self.error
            return call(*arguments, **options)

        return counted


def inject_failure(monkeypatch: pytest.MonkeyPatch, n: int, error: BaseException) -> FailureInjector:
    failure = FailureInjector(n, error)
    for name in CALLS:
        monkeypatch.setattr(os, name, failure.instead_of(getattr(os, name)))
    return failure


def list_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def build_disk_full_error() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(params=["linux", "another"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with and without the kernel's exchange of two paths."""
    if request.param == "another":
        monkeypatch.setattr(sys, "platform", "another")
    return str(request.param)


def test_a_folder_is_written_completely(tmp_path: Path) -> None:
    atomic_write_folder(tmp_path / "p", NEW)
    assert content(tmp_path / "p") == NEW


def test_parent_folders_are_created(tmp_path: Path) -> None:
    atomic_write_folder(tmp_path / "a" / "b" / "p", NEW)
    assert content(tmp_path / "a" / "b" / "p") == NEW


@pytest.mark.usefixtures("platform")
def test_a_folder_is_replaced_entirely(tmp_path: Path) -> None:
    atomic_write_folder(tmp_path / "p", OLD)
    atomic_write_folder(tmp_path / "p", NEW)
    assert content(tmp_path / "p") == NEW
    assert list_names(tmp_path) == ["p"]


@pytest.mark.usefixtures("platform")
def test_leftover_temporary_folders_are_ignored_and_not_deleted(tmp_path: Path) -> None:
    """Another process may have been killed there; in containers every process may have the id 1."""
    leftovers = [f".p.{os.getpid()}.tmp", f".p.{os.getpid()}.old", ".p.tmp", f".p.{'0' * 32}.tmp"]
    for name in leftovers:
        atomic_write_folder(tmp_path / name, OLD)
    (tmp_path / f".a.{os.getpid()}.tmp").write_bytes(b"mine")
    for files in (OLD, NEW):
        atomic_write_folder(tmp_path / "p", files)
        atomic_write_file(tmp_path / "a", files["a"])
        assert content(tmp_path / "p") == files
    assert (tmp_path / f".a.{os.getpid()}.tmp").read_bytes() == b"mine"
    assert sorted(list_names(tmp_path)) == sorted([*leftovers, f".a.{os.getpid()}.tmp", "a", "p"])
    assert all(content(tmp_path / name) == OLD for name in leftovers)


def test_writing_to_a_symbolic_link_replaces_its_target(tmp_path: Path) -> None:
    atomic_write_folder(tmp_path / "v1", OLD)
    (tmp_path / "current").symlink_to("v1")
    atomic_write_folder(tmp_path / "current", NEW)
    assert (tmp_path / "current").is_symlink()
    assert content(tmp_path / "v1") == NEW
    assert sorted(list_names(tmp_path)) == ["current", "v1"]


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("error", [build_disk_full_error(), KeyboardInterrupt(), OSError(errno.EIO, "I/O error")])
def test_a_failure_at_any_call_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    atomic_write_folder(tmp_path / "p", OLD)
    for n in itertools.count(1):
        with monkeypatch.context() as patch:
            failure = inject_failure(patch, n, error)
            with suppress(DiskFull, KeyboardInterrupt, OSError):
                atomic_write_folder(tmp_path / "p", NEW)
        if failure.calls < n:
            break
        assert content(tmp_path / "p") == OLD
        assert list_names(tmp_path) == ["p"]
    assert n > 1 + 2 * len(NEW)
    assert content(tmp_path / "p") == NEW


@pytest.mark.parametrize("error", [build_disk_full_error(), KeyboardInterrupt()])
def test_a_failure_at_any_call_leaves_no_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    for n in itertools.count(1):
        with monkeypatch.context() as patch:
            failure = inject_failure(patch, n, error)
            with suppress(DiskFull, KeyboardInterrupt):
                atomic_write_folder(tmp_path / "p", NEW)
        if failure.calls < n:
            break
        assert list_names(tmp_path) == []
    assert n > 1 + 2 * len(NEW)


def test_full_and_read_only_disks_raise_errors_that_name_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        inject_failure(patch, 2, build_disk_full_error())
        with pytest.raises(DiskFull, match=f"no space left for {tmp_path / 'p'}.*intact"):
            atomic_write_folder(tmp_path / "p", NEW)
    inject_failure(monkeypatch, 1, OSError(errno.EROFS, os.strerror(errno.EROFS)))
    with pytest.raises(SettingError, match=f"{tmp_path / 'p'} cannot be written .*choose another folder"):
        atomic_write_folder(tmp_path / "p", NEW)


@pytest.mark.parametrize("n", [1, 2])
def test_a_file_is_written_entirely_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    atomic_write_file(tmp_path / "a", b"old")
    inject_failure(monkeypatch, n, build_disk_full_error())
    with pytest.raises(OSError, match="No space left"):
        atomic_write_file(tmp_path / "a", b"new")
    assert content(tmp_path) == {"a": b"old"}


def test_a_prompt_is_intact_after_a_kill_during_overwriting(tmp_path: Path) -> None:
    assert exit_code(kill_while_overwriting, tmp_path / "p") == 0


def kill_while_overwriting(folder: Path, times: int = 30) -> None:
    """Run in a process with one thread, since it forks."""
    prompts = [make(), make(head=random_head(shared_model("llama")))]
    prompts[0].save_to(folder)
    survivors = []
    for round_ in range(times):
        started = time.perf_counter()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            for saved in itertools.cycle([prompts[round_ % 2], prompts[1 - round_ % 2]]):
                saved.save_to(folder, overwrite=True)
                os.write(writer, b".")
        os.close(writer)
        # Wait for a message, not for a time: on a busy machine a write may take long.
        assert os.read(reader, 1) == b"."
        time.sleep(random.Random(round_).uniform(0, 2 * (time.perf_counter() - started)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        survivors.append([prompt.files for prompt in prompts].index(SavedPrompt.from_folder(folder).files))
        assert content(folder) == prompts[survivors[-1]].files
    assert set(survivors) == {0, 1}
    assert len(list_names(folder.parent)) > 1  # some processes were killed during a write


def test_a_created_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    folder, left = tmp_path / "model", tmp_path / "model.tmp"
    left.mkdir()
    (left / "old").touch()  # of a process that was killed
    with atomic_create_folder(folder) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
        assert not folder.exists()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["model", "model/new"]


def test_an_error_while_a_folder_is_created_leaves_no_files(tmp_path: Path) -> None:
    with suppress(OSError), atomic_create_folder(tmp_path / "model") as temporary:
        temporary.mkdir()
        raise OSError
    assert list(tmp_path.iterdir()) == []
