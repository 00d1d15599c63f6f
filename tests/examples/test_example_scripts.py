"""Every example runs: its script, then the commands of its tutorial page, one of which reads its TOML file.

On a tiny random model, with 2 steps and rows made here (`conftest.py`), so figures say nothing. One job is measured on
the real model: `test_prefix_tuning_reviews.py`.
"""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from softprompt.saved import SavedPrompt
from softprompt.training import TuneSettings
from tests.docs.test_doc_pages import TUTORIALS, Block, blocks, commands, run_command
from tests.examples.conftest import ROOT

JOBS = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


def page_of(job: str) -> Path:
    return ROOT / "docs" / "tutorials" / f"{job}.md"


def shown(job: str, language: str) -> list[Block]:
    return [block for block in blocks(page_of(job)) if block.language == language]


def test_each_of_the_five_examples_has_a_script_a_toml_file_and_a_page() -> None:
    assert JOBS == [
        "cloze_verbalizer",
        "compare_methods_medical",
        "p_tuning_conversation",
        "prefix_tuning_reviews",
        "prompt_tuning_instructions",
    ]
    assert sorted(path.stem for path in (ROOT / "examples").glob("*.toml")) == JOBS
    assert [page.stem for page in TUTORIALS] == JOBS


@pytest.mark.parametrize("job", JOBS)
def test_the_script_and_the_page_commands_of_an_example_run(
    job: str, project: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(f"examples/{job}.py", run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.strip()
    lines = [line for block in shown(job, "bash") for line in commands(block.text)]
    assert any(f"--config examples/{job}.toml" in line for line in lines)
    for line in lines:
        assert run_command(line, project) == 0, f"{line}\n{capsys.readouterr().err}"
    assert SavedPrompt.from_folder(f"runs/{job}/from-config").manifest.task.template


@pytest.mark.parametrize(
    "job", ["prefix_tuning_reviews", "cloze_verbalizer"]
)  # cloze_verbalizer.py builds a model as well
def test_an_example_script_runs_twice(job: str, project: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        runpy.run_path(f"examples/{job}.py", run_name="__main__")
    assert list(Path("runs", job).glob("*.run"))


@pytest.mark.parametrize("job", JOBS)
def test_the_script_and_the_toml_file_of_an_example_have_the_same_settings(
    job: str, project: pytest.MonkeyPatch
) -> None:
    """Paths may differ, and the template may be that of the format."""
    seen: list[TuneSettings] = []
    short = TuneSettings.from_dict

    def recorded(values: dict[str, Any]) -> TuneSettings:
        seen.append(TuneSettings.model_validate(values))
        return short(values)

    project.setattr(TuneSettings, "from_dict", staticmethod(recorded))
    script = runpy.run_path(f"examples/{job}.py", run_name="__main__")
    config = tomllib.loads(Path(f"examples/{job}.toml").read_text("utf-8"))
    theirs = TuneSettings.model_validate({name.replace("-", "_"): value for name, value in config.items()})
    elsewhere = {"model", "data", "output", "template"}
    assert theirs.model == script["MODEL"]
    assert theirs.model_dump(exclude=elsewhere) in [each.model_dump(exclude=elsewhere) for each in seen]
    assert theirs.template in {None, *(each.template for each in seen)}


@pytest.mark.parametrize("job", JOBS)
def test_a_tutorial_page_shows_the_example_files_unchanged(job: str) -> None:
    files = {block.file: block.text for block in blocks(page_of(job)) if block.file}
    assert set(files) == {f"examples/{job}.py", f"examples/{job}.toml"}
    for file, text in files.items():
        assert text == (ROOT / file).read_text("utf-8")


@pytest.mark.parametrize("job", JOBS)
def test_the_usual_code_on_a_tutorial_page_compiles(job: str) -> None:
    usual = [block for block in shown(job, "python") if not block.file]
    assert usual
    for block in usual:
        compile(block.text, f"the usual code of {job}", "exec")
