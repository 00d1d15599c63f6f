"""A GGUF file is unpacked once for all processes of a user, and the cache stays within its limit."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from softprompt.errors import DiskFull, ModelNotFound, SettingError
from softprompt.model import gguf_cache, gguf_file, load_meta_model, load_model, unpack_progress
from softprompt.model.gguf_cache import CACHE_LIMIT_VARIABLE, unpack_gguf
from softprompt.model.gguf_file import GGUFFile
from tests import gguf_files
from tests.tiny import shared_model
from tests.warm import forked


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the cache."""
    monkeypatch.setenv("SOFTPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gguf_cache, "_held_locks", {})
    return tmp_path / "cache"


@pytest.fixture
def unpackings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were unpacked."""
    names = []
    unpack = GGUFFile.unpack_to_folder

    def noted(self: GGUFFile, *arguments: Any) -> None:
        names.append(self.path.name)
        unpack(self, *arguments)

    monkeypatch.setattr(GGUFFile, "unpack_to_folder", noted)
    return names


def tiny(tmp_path: Path, name: str = "tiny", seed: int = 0) -> Path:
    return gguf_files.gguf_file(tmp_path / f"{name}.gguf", seed=seed)


def release(path: Path) -> None:
    """Release a folder, as if the process that uses it had ended."""
    for lock in gguf_cache._held_locks.values():
        lock.release()
    gguf_cache._held_locks.clear()
    assert path.is_dir()


def folders(cache: Path) -> list[Path]:
    return sorted(path for path in (cache / "models" / "gguf").iterdir() if path.is_dir() and path.suffix != ".users")


def test_a_second_load_reads_the_folder_that_the_first_unpacked(tmp_path: Path, unpackings: list[str]) -> None:
    path = tiny(tmp_path)
    first, second = (load_model(str(path), device="cpu") for _ in range(2))
    assert first.fingerprint == second.fingerprint == shared_model("llama").fingerprint
    assert first.name == str(path)
    assert load_meta_model(str(path)).fingerprint == first.fingerprint
    assert unpackings == ["tiny.gguf"]


def test_an_unchanged_file_is_not_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny(tmp_path)
    folder = unpack_gguf(path)
    monkeypatch.setattr(gguf_cache, "_hash_content", None)
    assert unpack_gguf(path) == folder


def test_a_copy_or_link_of_a_file_is_not_unpacked_again(tmp_path: Path, unpackings: list[str]) -> None:
    path = tiny(tmp_path)
    folder = unpack_gguf(path)
    (tmp_path / "copies").mkdir()
    copy, link = shutil.copy(path, tmp_path / "copies" / "copy.gguf"), tmp_path / "link.gguf"
    link.symlink_to(path)
    path.touch()
    assert {unpack_gguf(Path(each)) for each in (copy, link, path)} == {folder}
    assert unpackings == ["tiny.gguf"]


def test_other_content_under_the_same_name_is_loaded_as_another_model(tmp_path: Path, unpackings: list[str]) -> None:
    path = tiny(tmp_path)
    times, first = path.stat(), load_model(str(path), device="cpu").fingerprint
    tiny(tmp_path, seed=1)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    assert load_model(str(path), device="cpu").fingerprint != first
    assert len(unpackings) == 2


def damage(folder: Path, kind: str) -> None:
    weights = next(folder.glob("*.safetensors"))
    match kind:
        case "cut short":
            os.truncate(weights, weights.stat().st_size // 2)
        case "a byte changed":
            times, content = weights.stat(), bytearray(weights.read_bytes())
            content[-3] ^= 1
            weights.write_bytes(content)
            os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
        case "weights gone":
            weights.unlink()
        case "tokenizer gone":
            (folder / "tokenizer.json").unlink()
        case "configuration emptied":
            (folder / "config.json").write_text("")
        case "list gone":
            (folder / "contents.json").unlink()
        case "list no JSON":
            (folder / "contents.json").write_text("{")
        case "list of another kind":
            (folder / "contents.json").write_text('{"format": 1, "files": [], "sources": 3}')


@pytest.mark.parametrize(
    "kind",
    [
        *("cut short", "a byte changed", "weights gone", "tokenizer gone", "configuration emptied", "list gone"),
        *("list no JSON", "list of another kind"),
    ],
)
def test_a_corrupt_folder_is_unpacked_again(tmp_path: Path, unpackings: list[str], kind: str) -> None:
    path = tiny(tmp_path)
    folder = unpack_gguf(path)
    damage(folder, kind)
    assert load_model(str(path), device="cpu").fingerprint == shared_model("llama").fingerprint
    assert len(unpackings) == 2
    unpack_gguf(path)
    assert len(unpackings) == 2


def test_a_copied_cache_is_used_without_unpacking_again(tmp_path: Path, cache: Path, unpackings: list[str]) -> None:
    """A copy changes the times of files, but not their content."""
    path = tiny(tmp_path)
    unpack_gguf(path)
    shutil.copytree(cache, tmp_path / "moved", copy_function=shutil.copy)
    os.environ["SOFTPROMPT_CACHE"] = str(tmp_path / "moved")
    assert unpack_gguf(path).is_relative_to(tmp_path / "moved")
    assert len(unpackings) == 1


def unpack_apart(source: Path, folder: Path) -> None:
    unpack = GGUFFile.unpack_to_folder

    def slowly(self: GGUFFile, *arguments: Any) -> None:
        with (folder / "made").open("a") as file:
            file.write("x")
        time.sleep(1)
        unpack(self, *arguments)

    GGUFFile.unpack_to_folder = slowly  # type: ignore[method-assign]
    (folder / f"found-{os.getpid()}").write_text(str(unpack_gguf(source)))


def test_two_concurrent_processes_unpack_a_file_once(tmp_path: Path) -> None:
    path = tiny(tmp_path)
    both = [forked(unpack_apart, path, tmp_path) for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len({each.read_text() for each in tmp_path.glob("found-*")}) == 1
    assert (tmp_path / "made").read_text() == "x"


def unpack_and_die(source: Path) -> None:
    gguf_file._write_shards = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    unpack_gguf(source)


def test_partial_folders_of_killed_processes_are_removed(tmp_path: Path, cache: Path) -> None:
    path = tiny(tmp_path)
    process = forked(unpack_and_die, path)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = folders(cache)
    assert [folder.suffix for folder in left] == [".tmp"]
    unpack_gguf(tiny(tmp_path, "other", 1))
    assert left[0].exists()  # it fits the limit
    assert load_model(str(path), device="cpu").fingerprint == shared_model("llama").fingerprint
    assert not left[0].exists()


@pytest.mark.parametrize(
    "full",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_raises_disk_full_and_leaves_no_folder(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, full: Exception
) -> None:
    def save(*_: Any, **__: Any) -> None:
        raise full

    monkeypatch.setattr(gguf_file, "save_file", save)
    with pytest.raises(DiskFull, match="no space left"):
        unpack_gguf(tiny(tmp_path))
    assert folders(cache) == []


def test_too_little_free_space_raises_disk_full_before_anything_is_written(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_cache, "_get_free_bytes", lambda _: 1000)
    with pytest.raises(DiskFull, match=r"takes 0\.\d GB and 0\.0 GB are free.*SOFTPROMPT_CACHE"):
        unpack_gguf(tiny(tmp_path))
    assert folders(cache) == []


def test_a_truncated_file_is_rejected_and_leaves_no_folder(tmp_path: Path, cache: Path) -> None:
    path = tiny(tmp_path)
    os.truncate(path, path.stat().st_size - 5000)
    with pytest.raises(ModelNotFound, match="is the file whole"):
        load_model(str(path))
    assert folders(cache) == []


def test_an_unwritable_cache_folder_raises_setting_error(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(SettingError, match="SOFTPROMPT_CACHE"):
        unpack_gguf(tiny(tmp_path))


def test_a_file_without_read_permission_raises_model_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened = tiny(tmp_path), Path.open

    def refused(self: Path, *arguments: Any, **named: Any) -> Any:
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ModelNotFound, match=r"tiny\.gguf cannot be read \(Permission denied\)"):
        unpack_gguf(path)


def test_the_least_recently_used_folder_is_evicted(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, unpackings: list[str]
) -> None:
    paths = [tiny(tmp_path, f"tiny-{seed}", seed) for seed in range(4)]
    made = []
    for path in paths[:3]:
        made.append(unpack_gguf(path))
        time.sleep(0.02)
    assert unpack_gguf(paths[0]) == made[0]  # so the second one is now the least recently used
    release(made[0])
    size = sum(file.stat().st_size for file in made[0].iterdir())
    monkeypatch.setenv(CACHE_LIMIT_VARIABLE, str(3.5 * size / 2**30))
    newest = unpack_gguf(paths[3])
    assert folders(cache) == sorted([made[0], made[2], newest])
    unpack_gguf(paths[1])
    assert unpackings == [path.name for path in [*paths, paths[1]]]


def test_foreign_entries_of_the_cache_are_not_listed_as_its_folders(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "models" / "photos").mkdir(parents=True)
    (tmp_path / "models" / "work.tmp").mkdir()
    (tmp_path / "models" / ("a" * 32)).symlink_to(tmp_path / "elsewhere")
    own = [tmp_path / "models" / name for name in ("b" * 32, f"{'c' * 32}.tmp")]
    for folder in own:
        folder.mkdir()
    assert sorted(gguf_cache._list_folders(tmp_path / "models")) == own


def test_folders_in_use_are_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv(CACHE_LIMIT_VARIABLE, "0")
    made = [unpack_gguf(tiny(tmp_path, f"tiny-{seed}", seed)) for seed in range(2)]
    assert folders(cache) == sorted(made)


def use(source: Path, ready: Path) -> None:
    ready.write_text(str(unpack_gguf(source)))
    time.sleep(60)


def test_folders_in_use_by_another_process_are_not_removed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_LIMIT_VARIABLE, "0")
    process = forked(use, tiny(tmp_path, "theirs", 1), tmp_path / "ready")
    while not (tmp_path / "ready").exists() or not (tmp_path / "ready").read_text():
        time.sleep(0.02)
    theirs = Path((tmp_path / "ready").read_text())
    ours = unpack_gguf(tiny(tmp_path, "ours", 2))
    assert folders(cache) == sorted([theirs, ours])
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    third = unpack_gguf(tiny(tmp_path, "third", 3))
    assert folders(cache) == sorted([ours, third])


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf"])
def test_an_invalid_cache_limit_raises_setting_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(CACHE_LIMIT_VARIABLE, text)
    with pytest.raises(SettingError, match=f"{CACHE_LIMIT_VARIABLE}='{text}'"):
        unpack_gguf(tiny(tmp_path))


def test_unpacking_progress_is_logged_in_increasing_percentages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack_progress, "PROGRESS_INTERVAL_S", 0.0)
    path = tiny(tmp_path)
    with caplog.at_level(logging.INFO, logger="softprompt"):
        unpack_gguf(path)
    first, *others = [record.message for record in caplog.records]
    assert first.startswith("unpacking tiny.gguf once, in ")
    assert others[-1] == "unpacking tiny.gguf: 100% of 0.0 GB"
    shares = [int(line.split(": ")[1].split("%")[0]) for line in others]
    assert len(shares) > 10
    assert shares == sorted(shares)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="softprompt"):
        unpack_gguf(path)
    assert caplog.records == []


def test_the_number_of_recorded_source_paths_is_limited(tmp_path: Path) -> None:
    path = tiny(tmp_path)
    for number in range(40):
        moved = path.with_name(f"tiny-{number}.gguf")
        path.rename(moved)
        path, folder = moved, unpack_gguf(moved)
    sources = json.loads((folder / "contents.json").read_text())["sources"]
    assert len(sources) == 32
    assert str(path.resolve()) in sources
