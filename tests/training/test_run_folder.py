"""A new run replaces the files of an earlier run, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from softprompt.errors import OutputExists
from softprompt.training.checkpoint import Progress, write_checkpoint
from softprompt.training.run_folder import RunFolder

FACTS = {"settings": {"steps": 1}, "data": {}}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "checkpoint.safetensors", "loss.png"])
@pytest.mark.parametrize("text", ["{}", '{"settings": "mine"}', "mine", ""])
def test_files_that_are_called_as_a_runs_are_not_deleted(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "p.run").mkdir()
    (tmp_path / "p.run" / name).write_text(text)
    with pytest.raises(OutputExists, match=f"no run's folder, so {name} in it is not overwritten"):
        RunFolder(tmp_path / "p.run").begin(FACTS)
    assert content(tmp_path / "p.run") == {name: text.encode()}


@pytest.mark.parametrize("damage", ["settings", "checkpoint", "metrics"])
def test_a_damaged_run_is_a_run(tmp_path: Path, damage: str) -> None:
    folder = RunFolder(tmp_path / "p.run")
    folder.begin(FACTS)
    write_checkpoint(folder.checkpoint, Progress(1), {"a": torch.ones(1)}, {})
    (folder.path / "notes.md").write_text("mine")
    getattr(folder, damage).write_text("{")
    folder.begin(FACTS)
    assert content(folder.path).keys() == {"run.json", "notes.md"}


def test_a_link_in_a_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("mine")
    folder = RunFolder(tmp_path / "p.run")
    folder.path.mkdir()
    folder.metrics.symlink_to(tmp_path / "thesis")
    with pytest.raises(OutputExists, match=r"metrics\.jsonl"):
        folder.begin(FACTS)
    folder.metrics.unlink()
    folder.begin(FACTS)
    folder.metrics.symlink_to(tmp_path / "thesis")
    folder.begin(FACTS)
    assert (tmp_path / "thesis").read_text() == "mine"


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.run").write_text("mine")
    with pytest.raises(OutputExists, match=r"p\.run is no folder"):
        RunFolder(tmp_path / "p.run").begin(FACTS)
