"""Folders with a foreign entry are not overwritten, and the error names the entry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from softprompt.atomic import atomic_write_folder
from softprompt.errors import OutputExists
from softprompt.saved import SavedPrompt, serialize_cartridge_adapter, serialize_peft_adapter
from softprompt.saved.foreign_files import PROMPT_EMBEDS_FILE, PROMPT_EMBEDS_KEY, find_foreign_files, join_names
from softprompt.saved.output_folder import check_output_free
from softprompt.saved.tensor_files import serialize_tensors
from tests.saved.factories import make, random_head
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import shared_model


def put(path: Path, content: bytes = b"mine") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def tree(folder: Path) -> dict[str, bytes | None]:
    """List everything below a folder, with empty folders and links."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=2, sort_keys=True) + "\n")


#: Foreign entries in the folder of a saved prompt, and their names in the error.
FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a git repository": (lambda p: put(p / ".git" / "config"), ".git/"),
    "notes": (lambda p: put(p / "notes.md"), "notes.md"),
    "a card": (lambda p: put(p / "README.md"), "README.md"),
    "a hidden file": (lambda p: put(p / ".gitattributes"), ".gitattributes"),
    "checkpoints": (lambda p: put(p / "checkpoints" / "optimizer.pt"), "checkpoints/"),
    "an empty folder": (lambda p: (p / "plans").mkdir(), "plans/"),
    "a prompt in it": (lambda p: make().save_to(p / "child" / "gen"), "child/"),
    "a run in it": (lambda p: put(p / "p.run" / "run.json"), "p.run/"),
    "a link to a file": (lambda p: (p / "prompt.safetensors").symlink_to("/etc/hostname"), "prompt.safetensors"),
    "a link to a folder": (lambda p: (p / "tasks").symlink_to("/etc"), "tasks"),
    "a folder in a file's place": (lambda p: put(p / "prompt.safetensors" / "a"), "prompt.safetensors/"),
    "notes among the tasks": (lambda p: put(p / "tasks" / "notes.md"), "tasks/notes.md"),
    "notes in a task": (lambda p: put(p / "tasks" / "a" / "notes.md"), "tasks/a/notes.md"),
    "a task's own tasks": (lambda p: make().save_to(p / "tasks" / "a" / "tasks" / "b"), "tasks/a/tasks/"),
    "other numbers": (
        lambda p: put(p / "prompt.safetensors", serialize_tensors({"x": torch.ones(2)})),
        "prompt.safetensors",
    ),
    "trained further by peft": (
        lambda p: put(p / "adapter_model.safetensors", serialize_tensors({"prompt_embeddings": torch.ones(3, 24)})),
        "adapter_model.safetensors",
    ),
    "peft's own configuration": (lambda p: edit(p / "adapter_config.json", revision=None), "adapter_config.json"),
    "a configuration that was changed": (
        lambda p: put(p / "adapter_config.json", b"{}"),
        "adapter_config.json",
    ),
    "other names of another case": (lambda p: put(p / "Softprompt.json"), "Softprompt.json"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_saved_prompt_with_a_foreign_entry_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    add, name = FOREIGN[kind]
    folder = tmp_path / "p"
    make().save_to(folder)
    add(folder)
    before = tree(folder)
    with pytest.raises(OutputExists, match="not overwritten: softprompt did not write") as caught:
        make(method="another").save_to(folder, overwrite=True)
    assert f"write {name}" in str(caught.value)
    assert tree(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


#: Folders of other programs that contain files with names of softprompt's.
STRANGERS: dict[str, dict[str, bytes]] = {
    "a peft trainer's": {
        "adapter_config.json": b'{"peft_type": "LORA", "r": 8}',
        "adapter_model.safetensors": serialize_tensors({"base.lora_A": torch.ones(2)}),
    },
    "a prompt that peft trained": {
        "adapter_config.json": b'{"peft_type": "PROMPT_TUNING", "revision": null}',
        "adapter_model.safetensors": serialize_tensors({"prompt_embeddings": torch.ones(2, 2)}),
    },
    "settings": {"softprompt.json": b'{"store": "prompts"}'},
    "no JSON": {"softprompt.json": b"steps = 3"},
    "a list": {"softprompt.json": b"[]"},
    "nested": {"softprompt.json": b"[" * 100_000},
    "numbers": {"prompt.safetensors": serialize_tensors({"prompt_embeddings": torch.ones(2, 2)})},
    "tensors": {"prompt_embeds.safetensors": serialize_tensors({"x": torch.ones(2, 2)})},
    "no tensors": {"prompt_embeds.safetensors": b"mine"},
    "tasks": {"tasks/a/softprompt.json": b"{}"},
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_a_folder_of_another_program_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    atomic_write_folder(tmp_path / "p", STRANGERS[kind])
    before = tree(tmp_path / "p")
    with pytest.raises(OutputExists, match="exists and is not a saved prompt, so it is not overwritten") as caught:
        make().save_to(tmp_path / "p", overwrite=True)
    assert next(iter(STRANGERS[kind])).partition("/")[0] in str(caught.value)
    assert tree(tmp_path / "p") == before


def exported(files: dict[str, bytes]) -> Callable[[Path], None]:
    return lambda folder: atomic_write_folder(folder, files)


def own() -> dict[str, Callable[[Path], None]]:
    model = shared_model("llama")
    embeddings, prefix = random_embeddings(model, 3, 0), random_prefix(model, 3, 0)
    newer = {name: b for name, b in make().files.items() if name != "softprompt.json"}
    manifest = {**json.loads(make().files["softprompt.json"]), "format": 9, "more": 1}
    return {
        "embeddings": make().save_to,
        "a prefix": make(prefix).save_to,
        "a head": make(head=random_head(model)).save_to,
        "of a later format": exported({**newer, "softprompt.json": json.dumps(manifest).encode()}),
        "several tasks": lambda folder: make().save_to(
            folder, task_prompts={"a": make(), "b c": make(head=random_head(model))}
        ),
        "exported embeddings": exported(serialize_peft_adapter(embeddings, model.shape, "some/base")),
        "an exported prefix": exported(serialize_peft_adapter(prefix, model.shape, "some/base")),
        "an exported cartridge": exported(serialize_cartridge_adapter(prefix, model.shape, "some/base")),
        "an embedded text": exported({PROMPT_EMBEDS_FILE: serialize_tensors({PROMPT_EMBEDS_KEY: torch.ones(4, 24)})}),
    }


def test_every_folder_that_softprompt_writes_can_be_overwritten(tmp_path: Path) -> None:
    for kind, write in own().items():
        write(tmp_path / kind)
        assert find_foreign_files(tmp_path / kind) == [], kind
        make(method="another").save_to(tmp_path / kind, overwrite=True)
        assert SavedPrompt.from_folder(tmp_path / kind).manifest.method["name"] == "another"


def test_a_cloned_repository_with_a_prompt_is_not_overwritten(tmp_path: Path) -> None:
    make().save_to(tmp_path / "p")
    (tmp_path / "clone").mkdir()
    for path in (tmp_path / "p").iterdir():
        shutil.copy(path, tmp_path / "clone")
    for name in ("README.md", ".gitattributes", ".git/HEAD"):
        put(tmp_path / "clone" / name)
    with pytest.raises(OutputExists, match=r"write \.git/, \.gitattributes, README\.md"):
        check_output_free(tmp_path / "clone", overwrite=True)


def test_join_names_shortens_long_lists_and_escapes_control_characters() -> None:
    assert join_names([f"{i}" for i in range(7)]) == "0, 1, 2, 3, 4 and 2 more"
    assert join_names(["a\x1b[2J"]) == r"'a\x1b[2J'"


def test_foreign_files_in_a_linked_folder_are_not_overwritten(tmp_path: Path) -> None:
    make().save_to(tmp_path / "v1")
    put(tmp_path / "v1" / "notes.md")
    (tmp_path / "current").symlink_to("v1")
    with pytest.raises(OutputExists, match=r"notes\.md"):
        make().save_to(tmp_path / "current", overwrite=True)
    assert (tmp_path / "v1" / "notes.md").read_bytes() == b"mine"
