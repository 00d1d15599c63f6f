"""`softprompt compare`, run as its user runs it: with its processes, its files and its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Softprompt
from tests.comparison.conftest import SUBJECTS, TEMPLATE, reviews_of, written
from tests.comparison.texts import write_instruction

pytestmark = pytest.mark.usefixtures("warm_workers")

DIES = "tests.comparison.runs.test_subprocess_runner:Dies"


@pytest.fixture
def options(base: Path, tmp_path: Path) -> dict[str, Any]:
    """Options of a small comparison."""
    files = {split: written(tmp_path / f"{split}.jsonl", reviews_of(split)) for split in SUBJECTS}
    return {
        "model": base, "data": files["train"], "validation": files["validation"], "test": files["test"],
        "template": TEMPLATE, "methods": "hard,prefix", "seeds": 2, "trials": 1, "max-steps": 2, "batch-size": 4,
        "output": tmp_path / "report",
    }  # fmt: skip


def line(options: dict[str, Any], **changes: Any) -> list[object]:
    return [part for name, value in {**options, **changes}.items() for part in (f"--{name}", value)]


def test_compare_reports_finished_and_failed_methods(
    softprompt: Softprompt, options: dict[str, Any], tmp_path: Path
) -> None:
    ran = softprompt("compare", *line(options, methods=f"hard,prefix,{DIES}"), "--json")
    report = ran.json
    assert list(report["methods"]) == ["hard", "prefix", DIES]
    assert report["methods"][DIES] == {
        "title": "dies", "kind": "weights", "status": "failed",
        "error": "ran out of memory: the system ended it (SIGKILL)",
    }  # fmt: skip
    prefix = report["methods"]["prefix"]
    assert len(prefix["metrics"]["accuracy"]["values"]) == 2
    assert prefix["pairwise_tests"]["hard"]["verdict"] in ("better", "worse", "no difference shown")
    assert report["recommendation"]["method"] in ("hard", "prefix")
    assert report["budget"] == {"max_steps": 2, "batch_size": 4, "minutes": None, "num_trials": 1, "seeds": [0, 1]}
    assert f"failed {DIES}: ran out of memory" in ran.err
    folder = tmp_path / "report"
    assert json.loads((folder / "report.json").read_text()) == report
    assert "prefix tuning" in (folder / "report.html").read_text()
    assert any((folder / "plots").glob("*.png"))
    run_files = {file: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()}
    again = softprompt("compare", *line(options), "--json").json  # without the method that fails
    assert {file: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()} == run_files
    assert again["methods"]["prefix"] == {**prefix, "pairwise_tests": {"hard": prefix["pairwise_tests"]["hard"]}}


def test_compare_shows_what_a_text_costs_beside_its_distilled_form(
    softprompt: Softprompt, options: dict[str, Any], tmp_path: Path
) -> None:
    text = write_instruction(tmp_path)
    options |= {"seeds": 1, "context": text, "methods": "hard,document,truncate:6,distil:4"}
    ran = softprompt("compare", *line(options))
    assert ran.code == 0, ran.err
    report = json.loads((options["output"] / "report.json").read_text())
    methods = report["methods"]
    counts = [methods[name]["num_request_tokens"] for name in ("hard", "truncate:6", "document", "distil:4")]
    assert counts[0] == counts[3] == 0 < counts[1] <= 6 < counts[2]
    assert methods["distil:4"]["train_seconds"] > 0
    assert methods["distil:4"]["learning_rates"]["trials"][0]["metrics"].keys() >= {"recovery", "kl"}
    assert report["settings"]["context"] == str(text)
    assert "text distilled into 4 virtual tokens" in (options["output"] / "report.html").read_text()


def test_compare_reports_methods_that_the_text_is_too_short_for(
    softprompt: Softprompt, options: dict[str, Any], tmp_path: Path
) -> None:
    options |= {"context": write_instruction(tmp_path), "methods": "document,truncate:400,distil:400"}
    ran = softprompt("compare", *line(options))
    assert ran.code == 0, ran.err
    for name in ("truncate:400", "distil:400"):
        assert f"failed {name}: {name}: " in ran.err
    assert "choose fewer, or the method document" in ran.err


def test_an_interruption_of_compare_before_the_first_run_leaves_a_resumable_folder(
    softprompt: Softprompt, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("softprompt.comparison.comparison_runner.run_in_subprocess", interrupted)
        ran = softprompt("compare", *line(options, methods="hard"))
    assert ran.code == 130
    assert "the same command continues from there" in ran.err
    assert softprompt("compare", *line(options, methods="hard")).code == 0


def test_compare_exits_with_2_if_all_methods_fail(softprompt: Softprompt, options: dict[str, Any]) -> None:
    ran = softprompt("compare", *line(options, methods="last:9"))
    assert ran.code == 2
    assert "has 3 layers" in ran.err
    assert "all methods failed" in ran.err
    assert json.loads((options["output"] / "report.json").read_text())["recommendation"]["method"] is None


def test_budget_minutes_limit_the_training_time_of_each_method(softprompt: Softprompt, options: dict[str, Any]) -> None:
    ran = softprompt("compare", *line(options, methods="hard,head", seeds=1, **{"budget-minutes": 0.02}))
    assert ran.code == 0, ran.err
    report = json.loads((options["output"] / "report.json").read_text())
    assert report["budget"]["minutes"] == 0.02
    assert report["budget"]["max_steps"] is None
    assert report["methods"]["head"]["steps"] > 1
    assert report["methods"]["head"]["train_seconds"] < 12  # 1.2 seconds were its share; machines are busy
    assert "The report is in" in ran.out
    assert "hard" in ran.out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": "hard,magic"}, ("unknown method 'magic'", "few-shot")),
        ({"methods": "hard,hard"}, ("--methods contains hard more than once",)),
        ({"train-sizes": "4,none"}, ("--train-sizes", "'none'")),
        ({"train-sizes": "4,400"}, ("--train-sizes 400", "24 examples")),
        ({"sweep": "num-virtual-tokens"}, ("--sweep", "num-virtual-tokens=1,5,20")),
        ({"sweep": "magic=1,2"}, ("--sweep cannot vary 'magic': choose one of num_virtual_tokens",)),
        ({"sweep": "num-virtual-tokens=many"}, ("--sweep num_virtual_tokens=many: input should be a valid integer",)),
        ({"sweep": "init=text,random", "methods": "hard,lora"}, ("--methods contains no soft prompt",)),
        ({"seeds": 0}, ("--seeds 0",)),
        ({"trials": 0}, ("--trials 0",)),
        ({"test": "missing.jsonl"}, ("file not found: missing.jsonl",)),
        ({"reference-text": "missing.txt"}, ("--reference-text missing.txt",)),
        ({"api-prices": "1"}, ("--api-prices",)),
        ({"methods": "hard,distil:4"}, ("the method distil:4 needs the text", "--context", "--examples", "--document")),
        ({"methods": "distil:0", "context": "a.txt"}, ("distil:0: pass the number of virtual tokens",)),
        ({"methods": "truncate:0", "context": "a.txt"}, ("truncate:0: pass the number of tokens",)),
        ({"methods": "document", "context": "a.txt"}, ("file not found: a.txt",)),
        ({"methods": "document", "context": "a.txt", "document": "b.txt"}, ("--context and --document are given",)),
        ({"examples": "a.jsonl"}, ("--examples is a text for the methods document, distil:P and truncate:P",)),
    ],
)
def test_compare_rejects_invalid_settings(
    softprompt: Softprompt, options: dict[str, Any], changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    softprompt("compare", *line(options, **changes)).refused(*words)
    assert not options["output"].exists()


def test_compare_rejects_an_output_folder_with_other_files(softprompt: Softprompt, options: dict[str, Any]) -> None:
    options["output"].mkdir()
    (options["output"] / "thesis.txt").write_text("mine")
    softprompt("compare", *line(options)).refused("contains something other than a comparison")


def test_compare_rejects_a_test_set_that_occurs_in_the_training_data(
    softprompt: Softprompt, options: dict[str, Any]
) -> None:
    softprompt("compare", *line(options, test=options["data"])).refused("24 inputs in common", "--allow-overlap")
