"""Artifacts as objects: atomic writes, repair, removal of leftovers, ownership, and errors of the object store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fsspec.core import url_to_fs
from s3fs import S3FileSystem

from softprompt.errors import CorruptPrompt, OutputExists, StoreError
from softprompt.registry import PromptRegistry
from softprompt.registry.artifact_ownership import claim_ownership
from softprompt.registry.artifact_store import OWNER_FILE, ArtifactStore
from softprompt.registry.integrity import load_prompt_artifact
from softprompt.registry.locations import resolve_artifact_store
from softprompt.saved import SavedPrompt
from tests.registry.factories import AT_ONCE
from tests.registry.object_store_server import Objects

FILES = {"a.json": b"{}", "b.safetensors": b"numbers"}
HASH, OTHER = "a" * 64, "b" * 64


@pytest.fixture(params=["memory", "s3"])
def folders(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """In this process, and on a server."""
    memory = f"memory:/{tmp_path}"
    return resolve_artifact_store(memory if request.param == "memory" else request.getfixturevalue("objects").place())


def listed(folders: ArtifactStore) -> dict[str, int]:
    return {kept.digest: kept.size_bytes for kept in folders.list_artifacts()}


def paths(folders: ArtifactStore) -> list[str]:
    """All objects."""
    files, root = url_to_fs(folders.display_name, use_listings_cache=False)
    return sorted(path.removeprefix(root).strip("/") for path in files.find(root))


def write(folders: ArtifactStore, name: str, content: bytes) -> None:
    files, root = url_to_fs(folders.display_name, use_listings_cache=False)
    files.pipe_file(f"{root}/{name}", content)


def test_a_written_artifact_is_listed_and_read_unchanged(folders: ArtifactStore) -> None:
    assert listed(folders) == {}
    assert not folders.has_artifact(HASH)
    with pytest.raises(FileNotFoundError):
        folders.read_files(HASH)
    folders.write_artifact(HASH, FILES)
    folders.write_artifact(HASH, FILES)
    assert folders.has_artifact(HASH)
    assert folders.read_files(HASH) == FILES
    assert list(listed(folders)) == [HASH]
    assert paths(folders) == [f"{HASH}.zip"]
    [kept] = folders.list_artifacts()
    assert abs(kept.age) < timedelta(minutes=1)
    assert kept.size_bytes > sum(map(len, FILES.values()))


@pytest.mark.parametrize("harm", [b"", b"half", b"PK\x05\x06" + b"\0" * 18])
def test_writing_a_corrupt_object_again_repairs_it(folders: ArtifactStore, harm: bytes) -> None:
    folders.write_artifact(HASH, FILES)
    write(folders, f"{HASH}.zip", harm)
    assert folders.has_artifact(HASH)
    assert folders.read_files(HASH) == {}
    folders.write_artifact(HASH, FILES)
    assert folders.read_files(HASH) == FILES


def test_a_trashed_artifact_can_be_restored_until_leftovers_are_removed(folders: ArtifactStore) -> None:
    folders.write_artifact(HASH, FILES)
    folders.write_artifact(OTHER, FILES)
    hidden = folders.trash_artifact(HASH)
    assert not folders.has_artifact(HASH)
    assert list(listed(folders)) == [OTHER]
    folders.restore_artifact(HASH, hidden)
    assert folders.read_files(HASH) == FILES
    folders.trash_artifact(OTHER)
    folders.remove_leftovers()
    folders.remove_leftovers()
    assert paths(folders) == [f"{HASH}.zip"]


def test_remove_leftovers_does_not_delete_foreign_entries(folders: ArtifactStore) -> None:
    for name in ("thesis.txt", f"{HASH}.txt", "A" * 64 + ".zip", f"below/{HASH}.zip"):
        write(folders, name, b"mine")
    before = paths(folders)
    assert listed(folders) == {}
    folders.remove_leftovers()
    assert paths(folders) == before


def test_an_artifact_location_with_artifacts_cannot_be_claimed_by_another_registry(folders: ArtifactStore) -> None:
    claim_ownership(folders, "one")
    claim_ownership(folders, "one")
    claim_ownership(folders, "other")  # no prompts yet: the first may never have been made
    folders.write_artifact(HASH, FILES)
    claim_ownership(folders, "other")
    with pytest.raises(
        OutputExists, match="contains the artifacts of another registry: choose another `artifact_location`"
    ):
        claim_ownership(folders, "one")
    assert folders.read_owner() == "other"
    assert OWNER_FILE in paths(folders)


HARMS: dict[str, Callable[[bytes], bytes]] = {
    "a bit of it": lambda packed: packed[:400] + bytes([packed[400] ^ 1]) + packed[401:],
    "half of it": lambda packed: packed[: len(packed) // 2],
    "nothing": lambda packed: b"",
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_corrupt_object_is_found_and_repaired_by_adding_the_prompt_again(
    saved: list[SavedPrompt], tmp_path: Path, harm: str
) -> None:
    with PromptRegistry.open(tmp_path / "store", create=True, artifact_location=f"memory:/{tmp_path}") as store:
        version = store.register_prompt(saved[0], "reviews")
        other = store.register_prompt(saved[1], "reviews")
        folders = resolve_artifact_store(store.artifact_location)
        files, root = url_to_fs(folders.display_name)
        write(folders, f"{version.digest}.zip", HARMS[harm](files.cat_file(f"{root}/{version.digest}.zip")))
        found = store.verify_integrity()
        assert [damage.digest for damage in found.corrupt_artifacts] == [version.digest]
        with pytest.raises(
            CorruptPrompt, match=f"in memory:.*{version.digest}.*to repair it, add the same prompt again"
        ):
            store.load_prompt(version)
        assert store.load_prompt(other).files == saved[1].files
        store.register_prompt(saved[0], "reviews")
        assert store.verify_integrity().is_intact
        files.rm_file(f"{root}/{version.digest}.zip")
        with pytest.raises(CorruptPrompt, match="is missing"):
            load_prompt_artifact(folders, version.digest)


def test_garbage_collection_does_not_delete_artifacts_of_another_registry(
    tmp_path: Path, saved: list[SavedPrompt]
) -> None:
    place = f"memory:/{tmp_path}"
    first = PromptRegistry.open(tmp_path / "first", create=True, artifact_location=place)
    second = PromptRegistry.open(
        tmp_path / "second", create=True, artifact_location=place
    )  # the first had no prompts yet
    version = second.register_prompt(saved[0], "reviews")
    with pytest.raises(StoreError, match="belongs to another registry .*nothing was deleted"):
        first.collect_garbage(AT_ONCE)
    with pytest.raises(OutputExists, match="contains the artifacts of another registry"):
        PromptRegistry.open(tmp_path / "first", create=True)
    with pytest.raises(OutputExists, match="contains the artifacts of another registry"):
        PromptRegistry.open(tmp_path / "third", create=True, artifact_location=place)
    with pytest.raises(StoreError, match="the registry was never created"):
        PromptRegistry.open(tmp_path / "third")
    assert second.load_prompt(version).files == saved[0].files
    assert second.collect_garbage(AT_ONCE).digests == ()


def newly(place: str) -> ArtifactStore:
    """As a process that begins now."""
    S3FileSystem.clear_instance_cache()
    return resolve_artifact_store(place)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Those who come later begin anew, too."""
    yield
    S3FileSystem.clear_instance_cache()


def test_writing_to_a_missing_bucket_is_rejected(objects: Objects) -> None:
    folders = resolve_artifact_store("s3://nowhere/prefix")
    for write in (lambda: folders.write_artifact(HASH, FILES), lambda: folders.write_owner("one")):
        with pytest.raises(StoreError, match="s3://nowhere/prefix cannot be written .*: create its bucket first"):
            write()


@pytest.mark.usefixtures("forgotten")
def test_an_unreachable_server_raises_store_error(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    folders = newly("s3://nowhere/prefix")
    for use in (lambda: folders.read_files(HASH), folders.read_owner, lambda: list(folders.list_artifacts())):
        with pytest.raises(StoreError, match="s3://nowhere/prefix cannot be reached .*: check the network"):
            use()


@pytest.mark.usefixtures("forgotten")
def test_wrong_and_missing_credentials_are_rejected(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(StoreError, match="denies access .*: check the credentials in the environment"):
        newly(objects.place()).write_artifact(HASH, FILES)
    for name in [each for each in os.environ if each.startswith("AWS_") and each != "AWS_ENDPOINT_URL"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="check .* the credentials in the environment"):
        newly(objects.place()).write_artifact(HASH, FILES)
