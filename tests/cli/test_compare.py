"""`softprompt compare`, run as its user runs it: with its processes, its files and its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Softprompt
from tests.comparison.conftest import SUBJECTS, TEMPLATE, reviews_of, written

pytestmark = pytest.mark.usefixtures("warm_workers")

DIES = "tests.comparison.test_apart:Dies"


@pytest.fixture
def options(base: Path, tmp_path: Path) -> dict[str, Any]:
    """A small comparison."""
    files = {split: written(tmp_path / f"{split}.jsonl", reviews_of(split)) for split in SUBJECTS}
    return {
        "model": base, "data": files["train"], "validation": files["validation"], "test": files["test"],
        "template": TEMPLATE, "ways": "hard,prefix", "seeds": 2, "trials": 1, "steps": 2, "batch-size": 4,
        "output": tmp_path / "report",
    }  # fmt: skip


def line(options: dict[str, Any], **changes: Any) -> list[object]:
    return [part for name, value in {**options, **changes}.items() for part in (f"--{name}", value)]


def test_a_comparison(softprompt: Softprompt, options: dict[str, Any], tmp_path: Path) -> None:
    ran = softprompt("compare", *line(options, ways=f"hard,prefix,{DIES}"), "--json")
    report = ran.json
    assert list(report["ways"]) == ["hard", "prefix", DIES]
    assert report["ways"][DIES] == {
        "title": "dies", "kind": "weights", "error": "ran out of memory: the system ended it (SIGKILL)",
    }  # fmt: skip
    prefix = report["ways"]["prefix"]
    assert len(prefix["accuracy"]["seeds"]) == 2
    assert prefix["versus"]["hard"]["verdict"] in ("better", "worse", "no difference shown")
    assert report["recommendation"]["way"] in ("hard", "prefix")
    assert report["budget"] == {"steps": 2, "batch_size": 4, "minutes": None, "trials": 1, "seeds": [0, 1]}
    assert f"failed {DIES}: ran out of memory" in ran.err
    folder = tmp_path / "report"
    assert json.loads((folder / "report.json").read_text()) == report
    assert "prefix tuning" in (folder / "report.html").read_text()
    assert any((folder / "plots").glob("*.png"))
    cells = {file: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()}
    again = softprompt("compare", *line(options), "--json").json  # without the one that fails
    assert {file: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()} == cells
    assert again["ways"]["prefix"] == {**prefix, "versus": {"hard": prefix["versus"]["hard"]}}


def test_interrupted_before_its_first_cell(
    softprompt: Softprompt, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("softprompt.comparison.comparing.run_apart", interrupted)
        ran = softprompt("compare", *line(options, ways="hard"))
    assert ran.code == 130
    assert "the same command goes on from there" in ran.err
    assert softprompt("compare", *line(options, ways="hard")).code == 0


def test_all_ways_fail(softprompt: Softprompt, options: dict[str, Any]) -> None:
    ran = softprompt("compare", *line(options, ways="last:9"))
    assert ran.code == 2
    assert "has 3 layers" in ran.err
    assert "every way failed" in ran.err
    assert json.loads((options["output"] / "report.json").read_text())["recommendation"]["way"] is None


def test_the_same_time_for_each(softprompt: Softprompt, options: dict[str, Any]) -> None:
    ran = softprompt("compare", *line(options, ways="hard,head", seeds=1, **{"budget-minutes": 0.02}))
    assert ran.code == 0, ran.err
    report = json.loads((options["output"] / "report.json").read_text())
    assert report["budget"]["minutes"] == 0.02
    assert report["budget"]["steps"] is None
    assert report["ways"]["head"]["steps"] > 1
    assert report["ways"]["head"]["seconds"] < 12  # 1.2 seconds were its share; machines are busy
    assert "The report is in" in ran.out
    assert "hard" in ran.out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ways": "hard,magic"}, ("unknown way 'magic'", "few-shot")),
        ({"ways": "hard,hard"}, ("--ways names hard twice",)),
        ({"sizes": "4,none"}, ("--sizes", "'none'")),
        ({"sizes": "4,400"}, ("--sizes 400", "24 examples")),
        ({"sweep": "virtual-tokens"}, ("--sweep", "virtual-tokens=1,5,20")),
        ({"sweep": "magic=1,2"}, ("--sweep cannot vary 'magic': one of virtual_tokens",)),
        ({"sweep": "virtual-tokens=many"}, ("--sweep virtual_tokens=many: input should be a valid integer",)),
        ({"sweep": "init=text,random", "ways": "hard,lora"}, ("--ways names none",)),
        ({"seeds": 0}, ("--seeds 0",)),
        ({"trials": 0}, ("--trials 0",)),
        ({"test": "missing.jsonl"}, ("no file missing.jsonl",)),
        ({"neutral": "missing.txt"}, ("--neutral missing.txt",)),
        ({"api-prices": "1"}, ("--api-prices",)),
    ],
)
def test_what_cannot_be(
    softprompt: Softprompt, options: dict[str, Any], changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    softprompt("compare", *line(options, **changes)).refused(*words)
    assert not options["output"].exists()


def test_a_folder_that_holds_something_else(softprompt: Softprompt, options: dict[str, Any]) -> None:
    options["output"].mkdir()
    (options["output"] / "thesis.txt").write_text("mine")
    softprompt("compare", *line(options)).refused("holds something that is no comparison")


def test_a_test_set_that_was_learnt_from(softprompt: Softprompt, options: dict[str, Any]) -> None:
    softprompt("compare", *line(options, test=options["data"])).refused("24 inputs in common", "--allow-overlap")
