"""The store is only a cache: if its file is damaged, full or missing, its users continue without it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from softprompt.model.sqlite_tensor_store import SQLiteTensorStore
from tests.warm import forked

KEYS = [bytes([number]) * 32 for number in range(40)]


def tensor(number: int, size: int = 5000) -> Tensor:
    return torch.full((size,), float(number))


def filled(path: Path, count: int = 3, limit: int = 2**30) -> SQLiteTensorStore:
    file = SQLiteTensorStore(path, limit)
    file.put("a", {KEYS[number]: tensor(number) for number in range(count)})
    return file


def numbers(file: SQLiteTensorStore, shelf: str = "a") -> list[int]:
    found = file.get(shelf, KEYS)
    assert all(torch.equal(states, tensor(KEYS.index(key))) for key, states in found.items())
    return sorted(KEYS.index(key) for key in found)


def test_stored_tensors_are_read_by_another_store_of_the_same_file(tmp_path: Path) -> None:
    filled(tmp_path / "new" / "states")
    assert numbers(SQLiteTensorStore(tmp_path / "new" / "states")) == [0, 1, 2]
    assert numbers(SQLiteTensorStore(tmp_path / "new" / "states"), "another shelf") == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_stored_tensors_keep_their_precision_and_shape(tmp_path: Path, dtype: torch.dtype) -> None:
    SQLiteTensorStore(tmp_path / "states").put("a", {KEYS[0]: torch.ones(2, 3, dtype=dtype)})
    found = SQLiteTensorStore(tmp_path / "states").get("a", KEYS[:1])[KEYS[0]]
    assert found.dtype is dtype
    assert found.shape == (2, 3)


def damaged(path: Path, at: float, content: bytes) -> None:
    """Remove the write-ahead log, and overwrite a part of the file at the share `at` of its size."""
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    with path.open("r+b") as file:
        file.seek(int(at * path.stat().st_size))
        file.write(content)


@pytest.mark.parametrize("at", [0.0, 0.5, 0.9])
def test_a_corrupt_store_is_recreated_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, at: float
) -> None:
    path = tmp_path / "states"
    filled(path, 30)._close_connection()  # this merges the write-ahead log into the file
    damaged(path, at, b"\x07" * 60_000)
    file = SQLiteTensorStore(path)
    assert len(numbers(file)) < 30
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"{path} is corrupt" in caplog.text
    file.put("a", {KEYS[number]: tensor(number) for number in range(30)})
    assert numbers(file) == list(range(30))
    assert len(caplog.records) == 1


def test_a_truncated_store_is_recreated(tmp_path: Path) -> None:
    path = tmp_path / "states"
    filled(path, 30)._close_connection()
    os.truncate(path, path.stat().st_size // 2)
    file = SQLiteTensorStore(path)
    assert len(numbers(file)) < 30
    file.put("a", {KEYS[number]: tensor(number) for number in range(30)})
    assert numbers(file) == list(range(30))


def test_a_full_store_warns_once_and_retains_its_entries(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = SQLiteTensorStore(tmp_path / "states", max_bytes=400_000)
    for number in range(40):
        file.put("a", {KEYS[number]: tensor(number)})
    found = numbers(file)
    assert 5 < len(found) < 40
    assert found == list(range(len(found)))
    assert [record.getMessage().partition(" is full: ")[2] for record in caplog.records] == [
        "further hidden states are computed every time"
    ]
    assert (tmp_path / "states").stat().st_size <= 400_000


def test_the_least_recently_used_namespace_is_evicted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for shelf in ("oldest", "older"):
        SQLiteTensorStore(tmp_path / "states", max_bytes=600_000).put(shelf, {KEYS[n]: tensor(n) for n in range(8)})
    file = SQLiteTensorStore(tmp_path / "states", max_bytes=600_000)
    for number in range(16):
        file.put("a", {KEYS[number]: tensor(number)})
    assert numbers(file) == list(range(16))
    assert (numbers(file, "oldest"), numbers(file, "older")) == ([], list(range(8)))
    assert not caplog.records


def test_namespaces_are_evicted_until_the_entry_fits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "states"
    for number, shelf in enumerate(("a little", "more", "a lot")):
        SQLiteTensorStore(path, max_bytes=600_000).put(shelf, {KEYS[n]: tensor(n) for n in range(1 + 4 * number)})
    file = SQLiteTensorStore(path, max_bytes=600_000)
    file.put("a", {KEYS[number]: tensor(number) for number in range(20)})
    assert numbers(file) == list(range(20))
    assert (numbers(file, "a little"), numbers(file, "more")) == ([], [])
    assert not caplog.records


def test_an_unwritable_store_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    file = SQLiteTensorStore(tmp_path / "file" / "states")
    for _ in range(2):
        file.put("a", {KEYS[0]: tensor(0)})
        assert file.get("a", KEYS) == {}
    assert len(caplog.records) == 1
    assert "cannot be used" in caplog.text


def put_every_fourth(path: Path, first: int) -> None:
    file = SQLiteTensorStore(path)
    for number in range(first, 40, 4):
        file.put("a", {KEYS[number]: tensor(number)})


def test_concurrent_processes_share_a_store(tmp_path: Path) -> None:
    path = tmp_path / "states"
    each = [forked(put_every_fourth, path, number) for number in range(4)]
    for process in each:
        process.join()
    assert [process.exitcode for process in each] == [0, 0, 0, 0]
    assert numbers(SQLiteTensorStore(path)) == list(range(40))
