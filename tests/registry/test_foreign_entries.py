"""Foreign entries at an artifact location are never deleted, and no registry is created at a location with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from fsspec.core import url_to_fs

from softprompt.errors import OutputExists
from softprompt.registry import PromptRegistry
from softprompt.registry.artifact_store import OWNER_FILE
from softprompt.saved import SavedPrompt
from tests.registry.factories import AT_ONCE, check_whole, stored
from tests.registry.object_store_server import Objects

OLD = (0, 0)
HASH = "a" * 64
FOREIGN = [
    ".git/config",
    ".git/objects/ab/cdef",
    "notes.txt",
    "notes/today.md",
    ".env",
    ".hidden/thesis.txt",
    "x.gone/thesis.txt",
    ".x.gone/thesis.txt",
    f".{uuid4().hex}.tmp/another program's",
    f".{uuid4().hex}.gone",
    ".softprompt/settings",
    ".softprompt-notes.tmp",
    f".softprompt-{uuid4().hex}.tmp.txt",
    f"{HASH}.txt",
    f"{HASH.upper()}/a",
    "gone/thesis.txt",
    f"gone/{HASH}.zip",
    f"gone/{HASH}.{uuid4().hex}.zip.txt",
]


def put(place: str, name: str) -> None:
    """Something of another's, from long ago."""
    files, root = url_to_fs(place, use_listings_cache=False)
    path = f"{root}/{name}"
    if "file" in files.protocol:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    files.pipe_file(path, b"mine")
    if "file" in files.protocol:
        for each in (Path(path), *Path(path).parents):
            if each == Path(root):
                break
            os.utime(each, OLD)


def found(place: str) -> set[str]:
    files, root = url_to_fs(place, use_listings_cache=False)
    return {str(name).removeprefix(root).strip("/") for name in files.find(root)}


@pytest.fixture(params=["folder", "shared folder", "memory", "s3"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], PromptRegistry]:
    """Opens a store with a place of each kind for its prompts; it is made the first time."""
    kind = request.param
    if kind == "folder":
        return lambda: PromptRegistry.open(tmp_path / "store", create=True)
    place = {"shared folder": str(tmp_path / "prompts"), "memory": f"memory:/{tmp_path}"}.get(kind)
    objects: Objects | None = request.getfixturevalue("objects") if kind == "s3" else None
    shared = place or (objects.place() if objects else "")
    return lambda: PromptRegistry.open(tmp_path / "store", create=True, artifact_location=shared)


def test_garbage_collection_does_not_delete_foreign_entries(
    make: Callable[[], PromptRegistry], saved: list[SavedPrompt]
) -> None:
    with make() as store:
        kept, gone = (
            store.register_prompt(saved[0], "reviews"),
            store.register_prompt(saved[1], "reviews", activate=False),
        )
        for name in FOREIGN:
            put(store.artifact_location, name)
        before = found(store.artifact_location)
        store.remove_versions("reviews@2")
        assert store.collect_garbage(AT_ONCE).digests == (gone.digest,)
        store._artifacts.trash_artifact(kept.digest)
        store.collect_garbage(AT_ONCE)
        left = {name for name in before if gone.digest not in name and kept.digest not in name}
        assert found(store.artifact_location) == left
        assert {name for name in FOREIGN if name in left} == set(FOREIGN)
    with make() as store:  # what has come since does not keep it from being opened
        store.register_prompt(saved[0], "reviews", activate=False)
        check_whole(store)


def test_temporary_files_of_killed_processes_are_deleted_after_an_hour(
    tmp_path: Path, saved: list[SavedPrompt]
) -> None:
    with PromptRegistry.open(tmp_path / "store", create=True, artifact_location=tmp_path / "prompts") as store:
        version = store.register_prompt(saved[0], "reviews")
        place = Path(store.artifact_location)
        left = [f".softprompt-{uuid4().hex}.{ending}" for ending in ("tmp", "old", "gone")]
        for name in left:
            (place / name).mkdir()
            (place / name / "a.json").write_bytes(b"{}")
        (place / f".{OWNER_FILE}.{uuid4().hex}.tmp").write_bytes(b"one")
        store.collect_garbage(AT_ONCE)
        assert len([name for name in stored(store) if name.startswith(".")]) == 3  # what was hidden went at once
        for path in place.glob(".*"):
            os.utime(path, OLD)
        store.collect_garbage(AT_ONCE)
        assert stored(store) == [version.digest]


@pytest.mark.parametrize("name", [FOREIGN[0], "notes.txt", "x.gone/thesis.txt", ".env", "gone/thesis.txt"])
@pytest.mark.parametrize("kind", ["folder", "memory", "s3"])
def test_creating_a_registry_rejects_an_artifact_location_with_foreign_files(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, name: str
) -> None:
    place = str(tmp_path / "prompts") if kind == "folder" else f"memory:/{tmp_path}"
    if kind == "s3":
        place = request.getfixturevalue("objects").place()
    put(place, name)
    with pytest.raises(
        OutputExists, match=r"contains .*, which is not an artifact: choose an empty `artifact_location`"
    ) as caught:
        PromptRegistry.open(tmp_path / "store", create=True, artifact_location=place)
    assert name.partition("/")[0] in str(caught.value)
    assert place in str(caught.value)
    assert found(place) == {name}
    with PromptRegistry.open(
        tmp_path / "store", create=True, artifact_location=f"{place}/own"
    ) as store:  # and it can be made elsewhere
        assert store.artifact_location.endswith("own")


def test_creating_a_registry_rejects_a_folder_with_foreign_files(tmp_path: Path) -> None:
    put(str(tmp_path / "mine"), ".git/config")
    with pytest.raises(OutputExists, match=r"is not a registry and contains \.git"):
        PromptRegistry.open(tmp_path / "mine", create=True)
    assert found(str(tmp_path / "mine")) == {".git/config"}


def test_lost_and_found_folders_do_not_block_an_artifact_location(tmp_path: Path) -> None:
    (tmp_path / "volume" / "lost+found").mkdir(parents=True)
    PromptRegistry.open(tmp_path / "store", create=True, artifact_location=tmp_path / "volume").close()
    assert (tmp_path / "volume" / "lost+found").is_dir()


def test_garbage_collection_does_not_delete_a_file_named_like_an_artifact(
    tmp_path: Path, saved: list[SavedPrompt]
) -> None:
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        version = store.register_prompt(saved[0], "reviews")
        file = Path(store.artifact_location, HASH)
        file.write_text("mine")
        os.utime(file, OLD)
        assert store.collect_garbage(AT_ONCE).digests == ()
        assert stored(store) == sorted([version.digest, HASH])


def test_garbage_collection_does_not_delete_artifact_folders_with_foreign_entries(
    tmp_path: Path, saved: list[SavedPrompt]
) -> None:
    """A user added notes to an artifact's folder, or has a folder or a link of such a name."""
    with PromptRegistry.open(tmp_path / "store", create=True, artifact_location=tmp_path / "prompts") as store:
        gone = store.register_prompt(saved[0], "reviews")
        store.deactivate_alias("reviews")
        store.remove_versions("reviews@1")
        place = Path(store.artifact_location)
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "a.json").write_bytes(b"mine")
        (place / ("b" * 64)).symlink_to(tmp_path / "mine")
        (place / f".softprompt-{uuid4().hex}.gone").symlink_to(tmp_path / "mine")
        foreign = [f"{gone.digest}/notes.md", f"{'c' * 64}/.git/config", f"{'d' * 64}/thesis.txt"]
        for name in foreign:
            put(store.artifact_location, name)
        (place / ("e" * 64)).mkdir()
        (place / ("e" * 64) / "a.json").symlink_to(tmp_path / "mine" / "a.json")
        before = found(store.artifact_location)
        assert store.collect_garbage(AT_ONCE).digests == ()
        assert found(store.artifact_location) == before
        (place / gone.digest / "notes.md").unlink()
        assert store.collect_garbage(AT_ONCE).digests == (gone.digest,)
        assert (tmp_path / "mine" / "a.json").read_bytes() == b"mine"
