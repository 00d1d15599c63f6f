"""A learning rate that is too high for a model is noticed in the first steps."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

import softprompt
from softprompt.training.rise import LossRise
from softprompt.training.watching import Stepped
from tests.tiny import template_for, tiny_model


def tuned(reviews: Path, output: Path, rate: float | None, **more: Any) -> None:
    settings = {"steps": 6, "batch_size": 12, "virtual_tokens": 4, "learning_rate": rate, **more}
    softprompt.tune(
        tiny_model("llama"), data=reviews, validation=reviews, output=output, template=template_for("llama"), **settings
    )


@pytest.mark.parametrize(("method", "high"), [("prompt", 30.0), ("prefix", 30.0)])
def test_a_rate_that_is_much_too_high_neither_raises_the_loss_nor_goes_without_a_warning(
    method: str, high: float, reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tuned(reviews, tmp_path / "good", 0.05, method=method, steps=60, evaluate_every=60)
    tuned(reviews, tmp_path / "p", high, method=method, init=f"prompt:{tmp_path / 'good'}")
    losses = [json.loads(line) for line in (tmp_path / "p.run/metrics.jsonl").read_text().splitlines()]
    first, second = (each["loss"] for each in losses if "loss" in each and each["step"] in (1, 2))
    assert second < 1.5 * first
    [warning] = [record.getMessage() for record in caplog.records if "too high" in record.getMessage()]
    found = re.search(r"`learning_rate=([\d.]+)`", warning)
    assert found is not None
    assert float(found.group(1)) < high / 4


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_the_default_rate_is_not_warned_of(
    method: str, reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tuned(reviews, tmp_path / "p", None, method=method)
    assert not [record for record in caplog.records if "too high" in record.getMessage()]


def stepped(step: int, loss: float) -> Stepped:
    return Stepped(step, loss, 0.1, 1.0, 100.0)


def test_rows_that_are_harder_are_no_rise(caplog: pytest.LogCaptureFixture) -> None:
    """The loss of other rows is five times as high, that of the first step's rows is as it was."""
    rise = LossRise(lambda _: 0.4, "p")
    for step, loss in enumerate((0.4, 2.0, 0.3, 2.2), start=1):
        rise.check(stepped(step, loss), 0.1, list)
    assert not caplog.records


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    rise = LossRise(lambda _: 3.0, "p")
    with caplog.at_level(logging.WARNING):
        for step, loss in enumerate((0.4, 2.0, 3.0, 3.0), start=1):
            rise.check(stepped(step, loss), 0.1, list)
    assert len(caplog.records) == 1


def test_a_run_that_goes_on_from_a_checkpoint_has_no_first_step_to_compare_with(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rise = LossRise(lambda _: 3.0, "p")
    for step in (5, 6, 7):
        rise.check(stepped(step, 5.0), 0.1, list)
    assert not caplog.records
