"""A comparison writes only to a new folder, an empty one, or that of a comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from softprompt.comparison.comparison_folder import GENERATOR_TAG, check_output_folder
from softprompt.comparison.runs.run_plan import RunSpec
from softprompt.comparison.runs.run_result import PilotResult
from softprompt.comparison.runs.run_store import RunStore
from softprompt.errors import OutputExists

OWN_REPORT = json.dumps({"softprompt": "0.1.0", "ways": {}})
OWN_PAGE = f"<!doctype html>\n{GENERATOR_TAG}0.1.0>"


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Folder of a comparison with one finished run."""
    RunStore(tmp_path / "c" / "cells").save_result(RunSpec("hard", "seed"), {}, PilotResult(seconds_per_step=1.0))
    (tmp_path / "c" / "logs").mkdir()
    return tmp_path / "c"


def test_a_comparison_may_continue_in_its_own_folder(begun: Path) -> None:
    check_output_folder(begun)
    (begun / "report.json").write_text(OWN_REPORT)
    (begun / "report.html").write_text(OWN_PAGE)
    (begun / "plots").mkdir()
    (begun / "notes.md").write_text("beside it, and never touched")
    check_output_folder(begun)


@pytest.mark.parametrize("made", [[], ["cells/"], ["cells/", "logs/hard.log"], ["cells/", "report.json", "plots/"]])
def test_a_comparison_may_start_in_a_folder_without_finished_runs(tmp_path: Path, made: list[str]) -> None:
    for name in made:
        path = tmp_path / "c" / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(OWN_REPORT)
    check_output_folder(tmp_path / "c")


@pytest.mark.parametrize("name", ["report.json", "report.html", "plots", "logs"])
def test_output_of_another_program_is_reported_and_not_overwritten(begun: Path, name: str) -> None:
    (begun / "logs").rmdir()
    (begun / name).write_text('{"quarter": 3}')
    with pytest.raises(OutputExists, match=f"{name} was not written by a comparison and is not overwritten"):
        check_output_folder(begun)


@pytest.mark.parametrize("foreign", ["cells/one.csv", "cells/one.json", "cells.txt", "report.json", "logs/a.log"])
def test_a_folder_with_files_of_another_program_is_rejected(tmp_path: Path, foreign: str) -> None:
    path = tmp_path / "c" / foreign
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(OutputExists, match="contains something other than a comparison"):
        check_output_folder(tmp_path / "c")


def test_a_file_and_a_folder_with_a_symbolic_link_are_rejected(tmp_path: Path, begun: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "cells").symlink_to(begun / "cells")
    for name in ("file", "d"):
        with pytest.raises(OutputExists, match="other than a comparison"):
            check_output_folder(tmp_path / name)
