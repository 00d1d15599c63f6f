"""Whole comparisons. The methods run in this process, which is faster; tests/cli has them in worker processes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison import CompareSettings, Report
from softprompt.comparison import run_comparison as compare_as
from softprompt.comparison.report.method_result import MethodEntry, MethodFailure
from softprompt.comparison.runs.method_job import MethodJob
from softprompt.comparison.runs.method_worker import EventWriter, run_job
from softprompt.errors import DiskFull, SettingError
from tests.comparison.conftest import Settings, written
from tests.tasks.test_extractive_qa_task import ROWS as EXTRACTED
from tests.tasks.test_token_classification_task import ROWS as TAGGED

pytestmark = pytest.mark.usefixtures("here")

CUSTOM_METHOD = """
from softprompt.comparison import AdaptationMethod, EvalResult, FittedModel, MethodKind


class CustomMethod(AdaptationMethod):
    title, kind, is_trained, is_stochastic = "custom", MethodKind.PROMPTING, False, False

    def fit(self, experiment, config, callback):
        return PerfectModel()


class PerfectModel(FittedModel):
    def evaluate(self, examples):
        return EvalResult({"accuracy": 1.0}, [1.0] * (len(examples) - LESS))
"""


def failure_of(report: Report, name: str) -> str:
    entry = report.methods[name]
    assert isinstance(entry, MethodFailure)
    return entry.error


@pytest.mark.parametrize(
    ("rows", "metric", "labels"), [(TAGGED, "f1", True), (EXTRACTED, "f1", True)], ids=["tags", "answers"]
)
def test_tasks_with_a_head_are_compared_and_their_hard_prompt_fails(
    rows: list[dict[str, Any]], metric: str, labels: bool, settings: Settings, tmp_path: Path
) -> None:
    files = {name: written(tmp_path / f"{name}-rows.jsonl", rows) for name in ("data", "validation", "test")}
    methods = ("hard", "prefix", "lora:2", "head")
    report = compare_as(
        settings(**files, template=None, allow_overlap=True, methods=methods, seeds=1, trials=1, max_steps=2)
    )
    assert report.headline_metric == metric
    assert "trained with the prompt" in failure_of(report, "hard")
    assert set(report.results) == {"prefix", "lora:2", "head"}


def test_impossible_train_sizes_and_sweep_values_are_skipped_and_the_other_runs_finish(
    settings: Settings, here: list[str]
) -> None:
    given = settings(
        methods=("few-shot:4", "prefix"),
        train_sizes=(2, 8),
        sweep={"num-virtual-tokens": ("2", "500")},
        seeds=1,
        trials=1,
    )
    report = compare_as(given)
    shot, prefix = report.results["few-shot:4"], report.results["prefix"]
    assert list(shot.metrics_by_train_size) == ["8"]
    assert "2 examples to choose from" in shot.skipped_runs["few-shot:4/size/2/0"]
    assert list(prefix.metrics_by_setting["num-virtual-tokens"]) == ["2"]
    assert list(prefix.skipped_runs) == ["prefix/sweep/num-virtual-tokens/500/0/0"]
    assert prefix.metrics["accuracy"].mean >= 0
    here.clear()
    compare_as(given)
    assert here == []  # a failure is not repeated


def test_results_of_the_seeds_survive_a_process_that_is_killed_in_a_sweep(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(job: MethodJob, log: Path, heard: Any) -> str:
        with pytest.raises(KeyboardInterrupt):
            run_job(job, DiesAt("sweep"))
        return "ran out of memory: the system ended it (SIGKILL)"

    monkeypatch.setattr("softprompt.comparison.comparison_runner.run_in_subprocess", killed)
    report = compare_as(settings(methods=("prefix",), sweep={"num-virtual-tokens": ("2", "3")}, seeds=2, trials=1))
    prefix = report.results["prefix"]
    assert len(prefix.metrics["accuracy"].values) == 2
    assert len(prefix.skipped_runs) == 4
    assert "SIGKILL" in prefix.skipped_runs["prefix/sweep/num-virtual-tokens/2/0/0"]


class DiesAt(EventWriter):
    """Event writer that ends the process at the first run of a kind."""

    def __init__(self, purpose: str):
        super().__init__(io.StringIO())
        self.purpose = purpose

    def on_run_begin(self, run_name: str) -> None:
        if f"/{self.purpose}/" in run_name:
            raise KeyboardInterrupt


def test_repeated_train_sizes_and_sweep_values_are_dropped(settings: Settings) -> None:
    given = settings(train_sizes=(4, 8, 4), sweep={"num-virtual-tokens": ("2", "2", "3")})
    assert given.train_sizes == (4, 8)
    assert given.sweep == {"num-virtual-tokens": ("2", "3")}


def test_a_changed_setting_repeats_only_the_affected_runs(settings: Settings, here: list[str], tmp_path: Path) -> None:
    def run(**changes: Any) -> list[str]:
        here.clear()
        compare_as(
            settings(
                **{"methods": ("hard", "few-shot:2", "bitfit"), "seeds": 1, "trials": 1, "max_steps": 1, **changes}
            )
        )
        return here

    assert run() == ["hard", "few-shot:2", "bitfit"]
    assert run() == []
    assert run(max_steps=2) == ["bitfit"]
    assert run(max_steps=1, methods=("hard", "few-shot:2")) == []
    assert run(max_steps=1, trials=2) == ["few-shot:2", "bitfit"]
    assert run(max_steps=1, trials=2, seeds=2) == ["few-shot:2", "bitfit"]
    assert run(template="{text}. It was", methods=("hard",)) == ["hard"]
    assert run(map={"text": "text"}, methods=("hard",)) == ["hard"]


def test_a_custom_method_runs_again_after_its_code_changed(
    settings: Settings, here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib
    import sys

    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "custom_compared_method.py"

    def run(less: int) -> MethodEntry:
        here.clear()
        file.write_text(CUSTOM_METHOD.replace("LESS", str(less)))
        importlib.invalidate_caches()
        sys.modules.pop("custom_compared_method", None)
        report = compare_as(settings(methods=("hard", "custom_compared_method:CustomMethod")))
        return report.methods["custom_compared_method:CustomMethod"]

    assert run(0).metrics["accuracy"].mean == 1.0
    assert run(0)
    assert here == []
    assert "returned 13 scores for 16 test examples" in run(3).error
    assert here == ["custom_compared_method:CustomMethod"]


def test_all_methods_run_with_a_template_that_has_virtual_token_markers(settings: Settings) -> None:
    given = settings(template="[P1] [P2] {text}\nLabel:", methods=("few-shot:2", "prompt", "lora"), seeds=1, trials=1)
    report = compare_as(given)
    assert set(report.results) == set(report.methods)


def test_a_method_that_fails_while_its_step_time_is_measured_is_reported_as_failed(settings: Settings) -> None:
    report = compare_as(settings(methods=("hard", "last:9"), budget_minutes=0.01))
    assert "has 3 layers" in failure_of(report, "last:9")


def test_a_full_disk_ends_the_comparison(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise DiskFull("no space left")

    monkeypatch.setattr("softprompt.comparison.comparison_runner.run_in_subprocess", full)
    with pytest.raises(DiskFull):
        compare_as(settings(methods=("hard", "lora")))


@pytest.mark.parametrize("name", ["steps", "seed", "template", "learning-rate", "magic"])
def test_sweeps_over_other_settings_are_rejected(settings: Settings, name: str) -> None:
    with pytest.raises(SettingError, match=f"`sweep` cannot vary '{name}': choose one of num_virtual_tokens, init"):
        compare_as(settings(methods=("prefix",), sweep={name: ("1",)}))


def test_weights_of_a_half_precision_model_are_trained_in_float32(settings: Settings) -> None:
    """The trained copy is in float32, like prompts, whatever the precision of the base model."""
    from softprompt.comparison import Experiment
    from softprompt.comparison.methods.weight_method import copy_model

    given: CompareSettings = settings(dtype="bfloat16")
    model = copy_model(Experiment.prepare(given).model)
    assert {str(p.dtype) for p in model.network.parameters()} == {"torch.float32"}
    assert model.precision == "bfloat16"


def test_a_head_trains_on_a_masked_model_with_a_template_without_a_mask(settings: Settings, tmp_path: Path) -> None:
    """Without a mask, label words of a masked model have no position, but a head reads the pooled token."""
    from tests.cli.conftest import saved_model

    base = str(saved_model(tmp_path / "bert", seed=0, family="bert"))
    report = compare_as(
        settings(model=base, template="{text}", methods=("hard", "head"), seeds=1, trials=2, max_steps=2)
    )
    assert failure_of(report, "hard")
    assert report.results["head"].metrics["accuracy"].mean >= 0
