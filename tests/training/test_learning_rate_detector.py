"""A learning rate that is too high for a model is detected in the first steps."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

import softprompt
from softprompt.training.callbacks import StepEvent
from softprompt.training.learning_rate_detector import HighLearningRateDetector
from tests.tiny import template_for, tiny_model


def tune_prompt(reviews: Path, output: Path, rate: float | None, **more: Any) -> None:
    settings = {"max_steps": 6, "batch_size": 12, "num_virtual_tokens": 4, "learning_rate": rate, **more}
    softprompt.tune(
        tiny_model("llama"), data=reviews, validation=reviews, output=output, template=template_for("llama"), **settings
    )


@pytest.mark.parametrize(("method", "high"), [("prompt", 30.0), ("prefix", 30.0)])
def test_too_high_learning_rate_causes_a_warning_and_a_bounded_loss(
    method: str, high: float, reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tune_prompt(reviews, tmp_path / "good", 0.05, method=method, max_steps=60, eval_steps=60)
    tune_prompt(reviews, tmp_path / "p", high, method=method, init=f"prompt:{tmp_path / 'good'}")
    losses = [json.loads(line) for line in (tmp_path / "p.run/metrics.jsonl").read_text().splitlines()]
    first, second = (each["loss"] for each in losses if "loss" in each and each["step"] in (1, 2))
    assert second < 1.5 * first
    [warning] = [record.getMessage() for record in caplog.records if "too high" in record.getMessage()]
    suggestion = re.search(r"`learning_rate=([\d.]+)`", warning)
    assert suggestion is not None
    assert float(suggestion.group(1)) < high / 4


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_default_learning_rate_causes_no_warning(
    method: str, reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tune_prompt(reviews, tmp_path / "p", None, method=method)
    assert not [record for record in caplog.records if "too high" in record.getMessage()]


def make_event(step: int, loss: float) -> StepEvent:
    return StepEvent(step, loss, 0.1, 1.0, 100.0)


def test_harder_examples_cause_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The loss of later examples is five times as high, but that of the first step's examples is unchanged."""
    detector = HighLearningRateDetector(lambda _: 0.4, "p")
    for step, loss in enumerate((0.4, 2.0, 0.3, 2.2), start=1):
        detector.check_step(make_event(step, loss), 0.1, list)
    assert not caplog.records


def test_high_learning_rate_warning_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    detector = HighLearningRateDetector(lambda _: 3.0, "p")
    with caplog.at_level(logging.WARNING):
        for step, loss in enumerate((0.4, 2.0, 3.0, 3.0), start=1):
            detector.check_step(make_event(step, loss), 0.1, list)
    assert len(caplog.records) == 1


def test_resumed_run_is_not_compared_with_a_first_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    detector = HighLearningRateDetector(lambda _: 3.0, "p")
    for step in (5, 6, 7):
        detector.check_step(make_event(step, 5.0), 0.1, list)
    assert not caplog.records
