"""Even with `--overwrite`, no command replaces a folder that contains files of other programs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Softprompt, files


@pytest.fixture
def taken(classifier: Path, tmp_path: Path) -> Path:
    """Saved prompt in whose folder a user has other files."""
    folder = shutil.copytree(classifier, tmp_path / "taken")
    for name in (".git/config", "notes.md", "checkpoints/optimizer.pt", "child/gen/softprompt.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    return folder


@pytest.mark.parametrize(
    "command", ["compose", "export peft", "export prefix", "import", "tune", "sweep", "resume", "demo"]
)
def test_overwrite_does_not_change_a_prompt_folder_with_files_of_other_programs(
    softprompt: Softprompt, classifier: Path, base: Path, reviews: Path, taken: Path, tmp_path: Path, command: str
) -> None:
    tuned = ("tune", "--model", base, "--data", reviews)
    line = {
        "compose": ("compose", classifier, classifier, "--output", taken),
        "export peft": ("export", classifier, taken, "--format", "peft"),
        "export prefix": ("export", classifier, taken, "--format", "prefix"),
        "import": ("import", classifier, taken),
        "tune": (*tuned, "--output", taken),
        "sweep": (*tuned, "--output", tmp_path / "sweep", "--sweep", "seed=0,1"),
        "resume": ("tune", "--output", taken, "--resume"),
        "demo": ("demo", "--output", taken, "--json"),
    }[command]
    if command == "sweep":
        (tmp_path / "sweep").mkdir()
        taken = taken.rename(tmp_path / "sweep" / "seed=1")
    if command == "resume":
        shutil.copytree(classifier.with_name("p.run"), taken.with_name("taken.run"))
    before = files(tmp_path)
    softprompt(*line, "--overwrite").refused(str(taken), "did not write .git/, checkpoints/, child/, notes.md, or")
    assert files(tmp_path) == before


def test_tune_does_not_change_a_run_folder_of_another_program(
    softprompt: Softprompt, base: Path, reviews: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.run").mkdir()
    for name in ("run.json", "loss.png"):
        (tmp_path / "p.run" / name).write_text("{}")
    before = files(tmp_path)
    for more in ((), ("--overwrite",)):
        ran = softprompt("tune", "--model", base, "--data", reviews, "--output", tmp_path / "p", *more)
        ran.refused("is not the folder of a run, so run.json, loss.png in it is not overwritten")
    assert files(tmp_path) == before
