"""Baselines: metrics of the untrained prompt and the hard prompt, and warnings if training did not improve them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import softprompt
from softprompt.data import read_examples
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask
from softprompt.training import TuneResult, TuneSettings
from softprompt.training.baselines import BaselineMetrics, warn_if_not_better
from softprompt.training.checkpoint import BestCheckpoint
from softprompt.training.concurrent_runs import tune_concurrently
from tests.tiny import template_for, tiny_model

SUFFICIENT: dict[str, Any] = {"max_steps": 60, "learning_rate": 0.05, "eval_steps": 60, "batch_size": 12}


def tune_prompt(reviews: Path, output: Path, **more: Any) -> TuneResult:
    settings = {
        "template": template_for("llama"), "max_steps": 4, "batch_size": 6, "num_virtual_tokens": 4,
        "eval_steps": 4, **more,
    }  # fmt: skip
    return softprompt.tune(tiny_model("llama"), data=reviews, validation=reviews, output=output, **settings)


def find_messages(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


def test_metrics_log_begins_with_evaluation_at_step_zero(reviews: Path, tmp_path: Path) -> None:
    result = tune_prompt(reviews, tmp_path / "p")
    logged = [json.loads(line) for line in (tmp_path / "p.run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert logged[0] == {"step": 0, "validation": result.baselines.untrained_prompt, "best": False}


def test_untrained_baseline_equals_metrics_of_an_untrained_run(reviews: Path, tmp_path: Path) -> None:
    result = tune_prompt(reviews, tmp_path / "p")
    untrained = tune_prompt(reviews, tmp_path / "untrained", max_steps=1, learning_rate=1e-12)
    assert result.baselines.untrained_prompt == pytest.approx(
        {name: value for name, value in untrained.best.items() if name != "step"}, abs=1e-5
    )


def test_hard_prompt_baseline_equals_that_of_evaluate(reviews: Path, tmp_path: Path) -> None:
    result = tune_prompt(reviews, tmp_path / "p")
    hard_prompt_metrics = softprompt.evaluate(
        tiny_model("llama"), SavedPrompt.from_folder(tmp_path / "p"), list(read_examples(reviews))
    )["hard_prompt"]
    assert result.baselines.hard_prompt is not None
    assert result.baselines.hard_prompt["loss"] == pytest.approx(hard_prompt_metrics["loss"], abs=1e-5)
    assert result.baselines.hard_prompt["accuracy"] == hard_prompt_metrics["accuracy"]


def test_prompt_worse_than_untrained_is_saved_with_a_warning(
    reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tune_prompt(reviews, tmp_path / "good", **SUFFICIENT)
    result = tune_prompt(reviews, tmp_path / "p", learning_rate=50.0, init=f"prompt:{tmp_path / 'good'}")
    assert result.baselines.untrained_prompt is not None
    assert result.best["loss"] > result.baselines.untrained_prompt["loss"]
    [warning] = find_messages(caplog, "untrained prompt")
    assert f"loss {result.best['loss']:.3g}" in warning
    assert f"loss {result.baselines.untrained_prompt['loss']:.3g}" in warning
    assert "`learning_rate=" in warning


def test_prompt_no_better_than_hard_prompt_causes_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    objective = ClassificationTask(labels=("good", "bad"), template=template_for("llama")).build_objective(
        tiny_model("llama"), 99
    )
    hard_prompt = {"accuracy": 0.75, "macro_f1": 0.75, "loss": 0.5}
    for best, num_warnings in (
        ({"accuracy": 0.75, "macro_f1": 0.75, "loss": 0.5}, 1),
        ({"accuracy": 0.74, "macro_f1": 0.75, "loss": 0.3}, 1),
        ({"accuracy": 0.75, "macro_f1": 0.75, "loss": 0.4}, 0),
    ):
        caplog.clear()
        warn_if_not_better("p", BestCheckpoint(4, best, {}), BaselineMetrics(None, hard_prompt), objective, 0.1)
        assert len(find_messages(caplog, "no better")) == num_warnings


def test_improved_prompt_causes_no_warning(reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tune_prompt(reviews, tmp_path / "p", **SUFFICIENT)
    assert not find_messages(caplog, "untrained prompt")
    assert not find_messages(caplog, "no better")


def test_jointly_trained_prompts_have_separate_untrained_baselines(reviews: Path, tmp_path: Path) -> None:
    shared = {
        "data": reviews, "validation": reviews, "model": "tiny", "max_steps": 2, "batch_size": 4,
        "template": template_for("llama"),
    }  # fmt: skip
    runs = {
        name: TuneSettings.from_dict({**shared, "output": tmp_path / name, "num_virtual_tokens": P})
        for name, P in (("short", 2), ("long", 5))
    }
    result = tune_concurrently(runs, tiny_model("llama"))
    untrained_metrics = [each.baselines.untrained_prompt for each in result.values() if isinstance(each, TuneResult)]
    assert len(untrained_metrics) == 2
    assert untrained_metrics[0] != untrained_metrics[1]


def test_resumed_run_keeps_its_untrained_baseline(reviews: Path, tmp_path: Path) -> None:
    original = tune_prompt(reviews, tmp_path / "p")
    (tmp_path / "p" / "softprompt.json").unlink()
    resumed = softprompt.tune(
        tiny_model("llama"), data=reviews, validation=reviews, output=tmp_path / "p", resume=True,
        template=template_for("llama"), max_steps=4, batch_size=6, num_virtual_tokens=4, eval_steps=4,
    )  # fmt: skip
    assert resumed.baselines.untrained_prompt == original.baselines.untrained_prompt
