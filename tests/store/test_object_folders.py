"""Folders as objects: whole or not at all, put once, mended, swept, and what is said when the place is no good."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fsspec.core import url_to_fs
from s3fs import S3FileSystem

from softprompt.errors import DamagedPrompt, OutputExists, StoreError
from softprompt.saved import SavedPrompt
from softprompt.store import Store
from softprompt.store.folders import OWNER, Folders
from softprompt.store.owning import own
from softprompt.store.places import folders_at
from softprompt.store.verifying import read_content
from tests.store.making import AT_ONCE
from tests.store.objects import Objects

FILES = {"a.json": b"{}", "b.safetensors": b"numbers"}
HASH, OTHER = "a" * 64, "b" * 64


@pytest.fixture(params=["memory", "s3"])
def folders(request: pytest.FixtureRequest, tmp_path: Path) -> Folders:
    """In this process, and on a server."""
    memory = f"memory:/{tmp_path}"
    return folders_at(memory if request.param == "memory" else request.getfixturevalue("objects").place())


def listed(folders: Folders) -> dict[str, int]:
    return {kept.content: kept.size for kept in folders.listed()}


def paths(folders: Folders) -> list[str]:
    """All objects."""
    files, root = url_to_fs(folders.name, use_listings_cache=False)
    return sorted(path.removeprefix(root).strip("/") for path in files.find(root))


def write(folders: Folders, name: str, content: bytes) -> None:
    files, root = url_to_fs(folders.name, use_listings_cache=False)
    files.pipe_file(f"{root}/{name}", content)


def test_what_is_put_is_there(folders: Folders) -> None:
    assert listed(folders) == {}
    assert not folders.holds(HASH)
    with pytest.raises(FileNotFoundError):
        folders.files(HASH)
    folders.put(HASH, FILES)
    folders.put(HASH, FILES)
    assert folders.holds(HASH)
    assert folders.files(HASH) == FILES
    assert list(listed(folders)) == [HASH]
    assert paths(folders) == [f"{HASH}.zip"]
    [kept] = folders.listed()
    assert abs(kept.age) < timedelta(minutes=1)
    assert kept.size > sum(map(len, FILES.values()))


@pytest.mark.parametrize("harm", [b"", b"half", b"PK\x05\x06" + b"\0" * 18])
def test_a_damaged_object_is_found_and_mended(folders: Folders, harm: bytes) -> None:
    folders.put(HASH, FILES)
    write(folders, f"{HASH}.zip", harm)
    assert folders.holds(HASH)
    assert folders.files(HASH) == {}
    folders.put(HASH, FILES)
    assert folders.files(HASH) == FILES


def test_what_was_hidden_comes_back_or_is_swept(folders: Folders) -> None:
    folders.put(HASH, FILES)
    folders.put(OTHER, FILES)
    hidden = folders.hide(HASH)
    assert not folders.holds(HASH)
    assert list(listed(folders)) == [OTHER]
    folders.restore(HASH, hidden)
    assert folders.files(HASH) == FILES
    folders.hide(OTHER)
    folders.sweep()
    folders.sweep()
    assert paths(folders) == [f"{HASH}.zip"]


def test_what_else_lies_there_is_left_alone(folders: Folders) -> None:
    for name in ("thesis.txt", f"{HASH}.txt", "A" * 64 + ".zip", f"below/{HASH}.zip"):
        write(folders, name, b"mine")
    before = paths(folders)
    assert listed(folders) == {}
    folders.sweep()
    assert paths(folders) == before


def test_a_place_has_one_owner(folders: Folders) -> None:
    own(folders, "one")
    own(folders, "one")
    own(folders, "other")  # no prompts yet: the first may never have been made
    folders.put(HASH, FILES)
    own(folders, "other")
    with pytest.raises(OutputExists, match="holds another store's prompts: choose another place for `prompts`"):
        own(folders, "one")
    assert folders.owner() == "other"
    assert OWNER in paths(folders)


HARMS: dict[str, Callable[[bytes], bytes]] = {
    "a bit of it": lambda packed: packed[:400] + bytes([packed[400] ^ 1]) + packed[401:],
    "half of it": lambda packed: packed[: len(packed) // 2],
    "nothing": lambda packed: b"",
}


@pytest.mark.parametrize("harm", HARMS)
def test_harm_is_found_and_mended(saved: list[SavedPrompt], tmp_path: Path, harm: str) -> None:
    with Store.open(tmp_path / "store", create=True, prompts=f"memory:/{tmp_path}") as store:
        version = store.add(saved[0], "reviews")
        other = store.add(saved[1], "reviews")
        folders = folders_at(store.prompts_at)
        files, root = url_to_fs(folders.name)
        write(folders, f"{version.content}.zip", HARMS[harm](files.cat_file(f"{root}/{version.content}.zip")))
        found = store.verify()
        assert [damage.content for damage in found.damages] == [version.content]
        with pytest.raises(
            DamagedPrompt, match=f"in memory:.*{version.content}.*to mend it, add the same prompt again"
        ):
            store.read(version)
        assert store.read(other).files == saved[1].files
        store.add(saved[0], "reviews")
        assert store.verify().whole
        files.rm_file(f"{root}/{version.content}.zip")
        with pytest.raises(DamagedPrompt, match="is missing"):
            read_content(folders, version.content)


def test_another_stores_prompts_are_not_collected(tmp_path: Path, saved: list[SavedPrompt]) -> None:
    place = f"memory:/{tmp_path}"
    first = Store.open(tmp_path / "first", create=True, prompts=place)
    second = Store.open(tmp_path / "second", create=True, prompts=place)  # the first had no prompts yet
    version = second.add(saved[0], "reviews")
    with pytest.raises(StoreError, match="is no place of this store's: .*nothing was deleted"):
        first.collect(AT_ONCE)
    with pytest.raises(OutputExists, match="holds another store's prompts"):
        Store.open(tmp_path / "first", create=True)
    with pytest.raises(OutputExists, match="holds another store's prompts"):
        Store.open(tmp_path / "third", create=True, prompts=place)
    with pytest.raises(StoreError, match="the store was never made"):
        Store.open(tmp_path / "third")
    assert second.read(version).files == saved[0].files
    assert second.collect(AT_ONCE).contents == ()


def newly(place: str) -> Folders:
    """As a process that begins now."""
    S3FileSystem.clear_instance_cache()
    return folders_at(place)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Those who come later begin anew, too."""
    yield
    S3FileSystem.clear_instance_cache()


def test_no_bucket(objects: Objects) -> None:
    folders = folders_at("s3://nowhere/prefix")
    for write in (lambda: folders.put(HASH, FILES), lambda: folders.take("one")):
        with pytest.raises(StoreError, match="s3://nowhere/prefix cannot be written .*: make its bucket first"):
            write()


@pytest.mark.usefixtures("forgotten")
def test_a_server_that_is_not_there(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    folders = newly("s3://nowhere/prefix")
    for use in (lambda: folders.files(HASH), folders.owner, lambda: list(folders.listed())):
        with pytest.raises(StoreError, match="s3://nowhere/prefix cannot be reached .*: see to the network"):
            use()


@pytest.mark.usefixtures("forgotten")
def test_credentials_that_are_wrong_or_none(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(StoreError, match="does not allow it .*: see to the credentials in the environment"):
        newly(objects.place()).put(HASH, FILES)
    for name in [each for each in os.environ if each.startswith("AWS_") and each != "AWS_ENDPOINT_URL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="see to .* the credentials in the environment"):
        newly(objects.place()).put(HASH, FILES)
