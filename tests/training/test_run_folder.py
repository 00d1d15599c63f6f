"""A new run replaces the files of an earlier run, and no other files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from softprompt.errors import OutputExists
from softprompt.training.checkpoint import TrainerState, write_checkpoint
from softprompt.training.run_folder import RunFolder

METADATA = {"settings": {"max_steps": 1}, "data": {}}


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "checkpoint.safetensors", "loss.png"])
@pytest.mark.parametrize("text", ["{}", '{"settings": "mine"}', "mine", ""])
def test_foreign_files_with_names_of_run_files_are_not_deleted(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "p.run").mkdir()
    (tmp_path / "p.run" / name).write_text(text)
    with pytest.raises(OutputExists, match=f"is not the folder of a run, so {name} in it is not overwritten"):
        RunFolder(tmp_path / "p.run").initialize_run(METADATA)
    assert read_files(tmp_path / "p.run") == {name: text.encode()}


@pytest.mark.parametrize("damage", ["settings_file", "checkpoint_file", "metrics_file"])
def test_corrupt_run_can_be_overwritten(tmp_path: Path, damage: str) -> None:
    folder = RunFolder(tmp_path / "p.run")
    folder.initialize_run(METADATA)
    write_checkpoint(folder.checkpoint_file, TrainerState(1), {"a": torch.ones(1)}, {})
    (folder.path / "notes.md").write_text("mine")
    getattr(folder, damage).write_text("{")
    folder.initialize_run(METADATA)
    assert read_files(folder.path).keys() == {"run.json", "notes.md"}


def test_symlink_named_like_a_run_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("mine")
    folder = RunFolder(tmp_path / "p.run")
    folder.path.mkdir()
    folder.metrics_file.symlink_to(tmp_path / "thesis")
    with pytest.raises(OutputExists, match=r"metrics\.jsonl"):
        folder.initialize_run(METADATA)
    folder.metrics_file.unlink()
    folder.initialize_run(METADATA)
    folder.metrics_file.symlink_to(tmp_path / "thesis")
    folder.initialize_run(METADATA)
    assert (tmp_path / "thesis").read_text() == "mine"


def test_file_named_like_the_run_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "p.run").write_text("mine")
    with pytest.raises(OutputExists, match=r"p\.run is not a folder"):
        RunFolder(tmp_path / "p.run").initialize_run(METADATA)
