"""The report of a distillation: its rows, their costs, and what they recover."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import softprompt
from softprompt.distillation import DistillResult
from softprompt.distillation.distill_report import DistillReport, ReportRow
from tests.distillation.targets import TEXT
from tests.tiny import shared_model

Rows = dict[str, ReportRow]


@pytest.fixture
def distil(tmp_path: Path, write_jsonl: Callable[..., Path]) -> Callable[..., DistillResult]:
    """Function that distils a text into four virtual tokens, with questions whose answers are known."""
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    inputs = write_jsonl("inputs.jsonl", [{"input": f"so {word}"} for word in ("rice", "fish", "tea", "film")])
    answered = write_jsonl("answered.jsonl", [{"input": "the food", "answer": "awful"}, {"input": "fun", "answer": ""}])

    def call(family: str = "llama", **settings: Any) -> DistillResult:
        defaults = {
            "num_virtual_tokens": 4,
            "max_steps": 2,
            "max_new_tokens": 4,
            "data": inputs,
            "validation": answered,
        }
        return softprompt.distil(
            shared_model(family), output=tmp_path / "p", **{"context": tmp_path / "text.txt", **defaults, **settings}
        )

    return call


def get_rows(result: DistillResult) -> Rows:
    assert result.report is not None
    return {row.name: row for row in result.report.rows}


def test_the_whole_text_recovers_everything_and_no_prompt_nothing(distil: Callable[..., DistillResult]) -> None:
    rows = get_rows(distil())
    assert list(rows) == [
        "no prompt", "whole text", "text cut to this length", "summary by the model", "initial prefix", "distilled",
    ]  # fmt: skip
    assert rows["no prompt"].metrics["recovery"] == pytest.approx(0, abs=1e-6)
    assert rows["whole text"].metrics["recovery"] == pytest.approx(1, abs=1e-6)
    assert rows["whole text"].metrics["kl"] == pytest.approx(0, abs=1e-5)


def test_the_last_row_has_the_metrics_of_the_saved_prompt(distil: Callable[..., DistillResult]) -> None:
    result = distil(eval_steps=1)
    row = get_rows(result)["distilled"]
    assert row.metrics["kl"] == pytest.approx(result.metrics["kl"], abs=1e-5)
    initial = get_rows(result)["initial prefix"]
    assert initial.metrics["kl"] == pytest.approx(result.initial_metrics["kl"], abs=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_only_texts_are_repeated_in_requests_and_shorter_ones_have_at_most_as_many_tokens(
    distil: Callable[..., DistillResult], family: str
) -> None:
    result = distil(family)
    rows = get_rows(result)
    assert rows["whole text"].num_request_tokens == result.num_context_tokens
    assert 0 < rows["text cut to this length"].num_request_tokens <= 4
    assert rows["distilled"].num_request_tokens == rows["initial prefix"].num_request_tokens == 0
    assert rows["distilled"].kv_bytes < rows["whole text"].kv_bytes
    assert all(row.first_token_seconds > 0 and row.tokens_per_second > 0 for row in rows.values())


def test_known_answers_are_measured_and_blank_ones_are_not(distil: Callable[..., DistillResult]) -> None:
    result = distil()
    assert result.report is not None
    assert result.report.num_answered_inputs == 1
    assert all(row.metrics["answer_nll"] > 0 for row in result.report.rows)


def test_a_few_shot_prompt_is_cut_to_whole_examples_and_not_summarized(
    distil: Callable[..., DistillResult], write_jsonl: Callable[..., Path]
) -> None:
    shots = write_jsonl("shots.jsonl", [{"input": "rice", "output": "good"}, {"input": "fish", "output": "bad"}] * 3)
    rows = get_rows(distil(context=None, examples=shots, num_virtual_tokens=9))
    assert "summary by the model" not in rows
    assert 0 < rows["text cut to this length"].num_request_tokens <= 9


def test_the_run_folder_has_the_report_and_a_picture(distil: Callable[..., DistillResult]) -> None:
    result = distil()
    folder = result.folder.with_name("p.run")
    assert DistillReport.model_validate(json.loads((folder / "report.json").read_text("utf-8"))) == result.report
    assert (folder / "recovery.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_without_validation_inputs_has_no_report(
    distil: Callable[..., DistillResult], write_jsonl: Callable[..., Path]
) -> None:
    assert distil(validation=None).report is None
