"""What was kept of a run stands beside its untrained start and the hard prompt, with a warning where it is worse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import softprompt
from softprompt.data import read_examples
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask
from softprompt.training import Tuned, TuneSettings
from softprompt.training.baselines import Baselines, warn_if_not_better
from softprompt.training.checkpoint import Best
from softprompt.training.many import run_together
from tests.tiny import template_for, tiny_model

ENOUGH: dict[str, Any] = {"steps": 60, "learning_rate": 0.05, "evaluate_every": 60, "batch_size": 12}


def tuned(reviews: Path, output: Path, **more: Any) -> Tuned:
    settings = {
        "template": template_for("llama"), "steps": 4, "batch_size": 6, "virtual_tokens": 4, "evaluate_every": 4, **more
    }  # fmt: skip
    return softprompt.tune(tiny_model("llama"), data=reviews, validation=reviews, output=output, **settings)


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


def test_the_validation_examples_are_measured_before_the_first_step(reviews: Path, tmp_path: Path) -> None:
    found = tuned(reviews, tmp_path / "p")
    logged = [json.loads(line) for line in (tmp_path / "p.run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert logged[0] == {"step": 0, "validation": found.baselines.start, "best": False}


def test_the_start_is_what_the_prompt_measures_untrained(reviews: Path, tmp_path: Path) -> None:
    found = tuned(reviews, tmp_path / "p")
    untrained = tuned(reviews, tmp_path / "untrained", steps=1, learning_rate=1e-12)
    assert found.baselines.start == pytest.approx(
        {name: value for name, value in untrained.best.items() if name != "step"}, abs=1e-5
    )


def test_the_hard_prompt_beside_it_is_that_of_evaluate(reviews: Path, tmp_path: Path) -> None:
    found = tuned(reviews, tmp_path / "p")
    figures = softprompt.evaluate(tiny_model("llama"), SavedPrompt.read(tmp_path / "p"), list(read_examples(reviews)))[
        "hard_prompt"
    ]
    assert found.baselines.hard_prompt is not None
    assert found.baselines.hard_prompt["loss"] == pytest.approx(figures["loss"], abs=1e-5)
    assert found.baselines.hard_prompt["accuracy"] == figures["accuracy"]


def test_a_prompt_that_is_worse_than_its_start_is_kept_with_a_warning(
    reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tuned(reviews, tmp_path / "good", **ENOUGH)
    found = tuned(reviews, tmp_path / "p", learning_rate=50.0, init=f"prompt:{tmp_path / 'good'}")
    assert found.baselines.start is not None
    assert found.best["loss"] > found.baselines.start["loss"]
    [warning] = said(caplog, "untrained start")
    assert f"loss {found.best['loss']:.3g}" in warning
    assert f"loss {found.baselines.start['loss']:.3g}" in warning
    assert "`learning_rate=" in warning


def test_a_prompt_that_is_no_better_than_the_hard_prompt_is_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    objective = ClassificationTask(labels=("good", "bad"), template=template_for("llama")).bind(tiny_model("llama"), 99)
    hard_prompt = {"accuracy": 0.75, "macro_f1": 0.75, "loss": 0.5}
    for best, times in (
        ({"accuracy": 0.75, "macro_f1": 0.75, "loss": 0.5}, 1),
        ({"accuracy": 0.74, "macro_f1": 0.75, "loss": 0.3}, 1),
        ({"accuracy": 0.75, "macro_f1": 0.75, "loss": 0.4}, 0),
    ):
        caplog.clear()
        warn_if_not_better("p", Best(4, best, {}), Baselines(None, hard_prompt), objective, 0.1)
        assert len(said(caplog, "no better")) == times


def test_a_prompt_that_learnt_is_not_warned_of(reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tuned(reviews, tmp_path / "p", **ENOUGH)
    assert not said(caplog, "untrained start")
    assert not said(caplog, "no better")


def test_each_prompt_of_a_joint_run_has_its_own_start(reviews: Path, tmp_path: Path) -> None:
    shared = {
        "data": reviews, "validation": reviews, "model": "tiny", "steps": 2, "batch_size": 4,
        "template": template_for("llama"),
    }  # fmt: skip
    runs = {
        name: TuneSettings.of({**shared, "output": tmp_path / name, "virtual_tokens": P})
        for name, P in (("short", 2), ("long", 5))
    }
    found = run_together(runs, tiny_model("llama"))
    starts = [each.baselines.start for each in found.values() if isinstance(each, Tuned)]
    assert len(starts) == 2
    assert starts[0] != starts[1]


def test_a_resumed_run_remembers_its_start(reviews: Path, tmp_path: Path) -> None:
    before = tuned(reviews, tmp_path / "p")
    (tmp_path / "p" / "softprompt.json").unlink()
    again = softprompt.tune(
        tiny_model("llama"), data=reviews, validation=reviews, output=tmp_path / "p", resume=True,
        template=template_for("llama"), steps=4, batch_size=6, virtual_tokens=4, evaluate_every=4,
    )  # fmt: skip
    assert again.baselines.start == before.baselines.start
