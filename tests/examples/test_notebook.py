"""The notebook runs from its second cell of code to its last, on a tiny model and on reviews made here.

Its cells are executed in order in one namespace, as a kernel would. The cell tagged `install` is skipped, and the names
on the Hub are replaced.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import ROOT

NOTEBOOK = ROOT / "examples" / "prefix_tuning_reviews.ipynb"
NAMES = {
    'MODEL = "gpt2"': 'MODEL = "smollm2-135m"',  # the tiny model answers to it
    'DATA = "hf:yelp_review_full[:2000]"': 'DATA = "../shared/data/movie_reviews.train.jsonl"',
}


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return found


def is_code(cell: dict[str, Any]) -> bool:
    return bool(cell["cell_type"] == "code")


def installs(cell: dict[str, Any]) -> bool:
    return "install" in cell["metadata"].get("tags", [])


def test_the_notebook_has_the_fields_of_notebook_format_4_5() -> None:
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in cells()}) == len(cells())
    for cell in cells():
        needed = {"cell_type", "id", "metadata", "source"} | (
            {"execution_count", "outputs"} if is_code(cell) else set()
        )
        assert set(cell) == needed
        assert not cell.get("outputs"), "a notebook is kept without what it printed"


def test_only_the_first_code_cell_of_the_notebook_installs_packages() -> None:
    first, *others = filter(is_code, cells())
    assert installs(first)
    assert "".join(first["source"]) == "%pip install --quiet softprompt"
    assert not any(installs(cell) for cell in others)


def test_the_notebook_runs_from_the_data_to_a_response(
    project: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    changed = 0
    for cell in (cell for cell in cells() if is_code(cell) and not installs(cell)):
        source = "".join(cell["source"])
        for theirs, ours in NAMES.items():
            changed += source.count(theirs)
            source = source.replace(theirs, ours)
        capsys.readouterr()
        exec(compile(source, f"the cell {cell['id']}", "exec"), names)
    assert changed == len(NAMES)
    assert capsys.readouterr().out.strip(), "the last cell prints what the model wrote"
    assert names["metrics"]["examples"] == 50
