"""Verification finds every artifact that was changed after it was written, and the versions that have it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from softprompt.errors import CorruptPrompt
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from tests.registry.conftest import Home
from tests.registry.factories import AT_ONCE, folder_of

Prompts = list[SavedPrompt]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A folder: what is harmed here is SQLite's, or lies on the disk."""
    return Home(str(tmp_path / "store"))


def flip(file: Path, place: int = -1) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def append(file: Path, more: bytes) -> None:
    file.write_bytes(file.read_bytes() + more)


def other_whole_prompt(folder: Path, saved: Prompts) -> None:
    shutil.rmtree(folder)
    saved[1].save_to(folder)


HARMS: dict[str, Callable[[Path, Prompts], object]] = {
    "a bit of a tensor": lambda folder, _: flip(folder / "adapter_model.safetensors"),
    "a bit of the manifest": lambda folder, _: flip(folder / "softprompt.json", 20),
    "spaces in the manifest": lambda folder, _: append(folder / "softprompt.json", b" "),
    "peft's configuration": lambda folder, _: flip(folder / "adapter_config.json"),
    "half a tensor file": lambda folder, _: (folder / "adapter_model.safetensors").write_bytes(b"half"),
    "a file is gone": lambda folder, _: (folder / "adapter_config.json").unlink(),
    "a file too many": lambda folder, _: (folder / "run.py").write_text("import os"),
    "a folder too many": lambda folder, _: (folder / "tasks").mkdir(),
    "another prompt": other_whole_prompt,
    "all is gone": lambda folder, _: shutil.rmtree(folder),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_corrupt_artifact_is_found_with_its_versions_and_repaired_by_adding_it_again(
    store: PromptRegistry, saved: Prompts, harm: str
) -> None:
    mine = store.register_prompt(saved[0], "reviews", tenant="acme")
    same = store.register_prompt(saved[0], "reviews", tenant="bolt")
    store.register_prompt(saved[2], "reviews", tenant="bolt")
    assert store.verify_integrity().is_intact
    HARMS[harm](folder_of(store, mine), saved)
    found = store.verify_integrity()
    assert not found.is_intact
    assert found.num_referenced == 2
    [damage] = found.corrupt_artifacts
    assert (damage.digest, damage.versions) == (mine.digest, (mine, same))
    assert "to repair it, add the same prompt again" in damage.problem
    with pytest.raises(CorruptPrompt, match=mine.digest):
        store.load_prompt(same)
    store.register_prompt(saved[0], "reviews", tenant="acme")
    assert store.verify_integrity().is_intact


def test_unreferenced_artifacts_are_counted_and_not_reported_as_corrupt(store: PromptRegistry, saved: Prompts) -> None:
    version = store.register_prompt(saved[0], "reviews", activate=False)
    flip(folder_of(store, version) / "softprompt.json")
    store.remove_versions("reviews")
    found = store.verify_integrity()
    assert (found.is_intact, found.num_referenced, found.num_unreferenced) == (True, 0, 1)


def test_artifacts_deleted_during_verification_are_not_reported_as_corrupt(
    store: PromptRegistry, saved: Prompts
) -> None:
    for each in saved[:2]:
        store.register_prompt(each, "reviews", activate=False)

    def remove_all(done: int, total: int) -> None:
        assert total == 2
        if done == 0:
            store.remove_versions("reviews")
            store.collect_garbage(AT_ONCE)

    assert store.verify_integrity(remove_all).is_intact
