"""Distillation as a method: it is what `distil` does, learns from no answer, and keeps what its teacher said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt
from softprompt.comparison import Experiment, MethodKind
from softprompt.comparison.methods.method_registry import get_method
from softprompt.comparison.runs.method_runner import MethodRunner, NullRunCallback
from softprompt.comparison.runs.run_plan import RunSpec
from softprompt.comparison.runs.run_result import FailedRun, MeasuredRun
from softprompt.comparison.runs.run_store import RunStore
from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.label_distillation import LabelDistillationObjective
from softprompt.errors import TrainingDiverged
from tests.comparison.conftest import TEMPLATE, Settings, reviews_of, written
from tests.comparison.texts import SHOTS, fit, prepare, write_chats, write_instruction

OTHER_LABEL = {"good": "bad", "bad": "good"}


def run_all(experiment: Experiment, name: str, folder: Path) -> RunStore:
    store = RunStore(folder)
    MethodRunner(experiment, name, get_method(name), 2, store, NullRunCallback()).run_missing()
    return store


def get_result(store: RunStore, run: RunSpec) -> MeasuredRun:
    result = store.load_measurement(run)
    assert isinstance(result, MeasuredRun)
    return result


@pytest.mark.parametrize("kind", ["context", "examples"])
def test_the_prefix_is_that_of_distil(settings: Settings, tmp_path: Path, kind: str) -> None:
    text = write_instruction(tmp_path) if kind == "context" else written(tmp_path / "shots.jsonl", SHOTS)
    experiment = prepare(settings, tmp_path, **{kind: text})
    fitted = fit(experiment, "distil:4", steps=3, learning_rate=0.02, seed=1)
    given = experiment.settings
    distilled = softprompt.distil(
        experiment.model, **{kind: text}, data=given.data, validation=given.validation, output=tmp_path / "p",
        num_virtual_tokens=4, max_steps=3, learning_rate=0.02, seed=1, batch_size=4, force=True,
        template=TEMPLATE, labels=experiment.task.labels,
    )  # fmt: skip
    assert distilled.prompt is not None
    assert fitted.payload is not None
    expected = experiment.model.compile_payload(distilled.prompt.payload)
    torch.testing.assert_close(fitted.payload.tensor, expected.tensor, atol=1e-6, rtol=0)
    assert fitted.num_trained_parameters == distilled.prompt.manifest.trained_parameters
    evaluated = softprompt.evaluate(experiment.model, distilled.prompt, list(experiment.test))
    metrics = fitted.evaluate(experiment.test).metrics
    assert metrics == pytest.approx({name: evaluated[name] for name in metrics}, abs=1e-5)


def test_no_label_of_the_training_examples_is_learned(settings: Settings, tmp_path: Path) -> None:
    swapped = [{**row, "label": OTHER_LABEL[row["label"]]} for row in reviews_of("train")]
    right, wrong = (
        fit(prepare(settings, tmp_path, **changes), "distil:4")
        for changes in ({}, {"data": written(tmp_path / "swapped.jsonl", swapped)})
    )
    assert right.payload is not None
    assert wrong.payload is not None
    assert torch.equal(right.payload.tensor, wrong.payload.tensor)


def test_only_the_virtual_tokens_are_stored_and_no_request_repeats_the_text(settings: Settings, tmp_path: Path) -> None:
    experiment = prepare(settings, tmp_path)
    fitted = fit(experiment, "distil:4")
    prefix = fit(experiment, "prefix", overrides={"num_virtual_tokens": 4})
    assert fitted.stored_bytes == prefix.stored_bytes
    assert (fitted.num_request_tokens, prefix.num_request_tokens) == (0, 0)
    assert fitted.training_record is not None
    assert fitted.training_record.seconds > 0
    assert get_method("distil:4").kind is MethodKind.SOFT_PROMPT


def test_learning_rates_and_steps_are_selected_without_labels(settings: Settings, tmp_path: Path) -> None:
    experiment = prepare(settings, tmp_path, trials=3, seeds=1)
    store = run_all(experiment, "distil:4", tmp_path / "cells")
    trials = [store.load_trial(RunSpec("distil:4", "trial", number=number)) for number in range(3)]
    metrics = [trial.metrics for trial in trials if trial is not None]
    assert [set(found) for found in metrics] == 3 * [{"recovery", "agreement", "kl", "accuracy"}]  # and no loss
    best = max(range(3), key=lambda number: metrics[number]["recovery"])
    assert get_result(store, RunSpec("distil:4", "seed")).learning_rate == trials[best].learning_rate


def test_a_run_is_measured_as_those_of_other_methods(settings: Settings, tmp_path: Path) -> None:
    experiment = prepare(settings, tmp_path)
    distilled, prefix = (
        get_result(run_all(experiment, name, tmp_path / "cells"), RunSpec(name, "seed"))
        for name in ("distil:4", "prefix")
    )
    assert list(distilled.metrics) == list(prefix.metrics)
    assert len(distilled.scores) == len(prefix.scores) == len(experiment.test)
    assert set(distilled.serving) == {"1", "50"}
    assert distilled.reference_loss is not None
    assert distilled.num_request_tokens == 0


@pytest.mark.parametrize("task", ["generation", "chat"])
def test_responses_are_distilled(settings: Settings, tmp_path: Path, task: str) -> None:
    def rows(*names: str) -> list[dict[str, str]]:
        return [{"input": f"the {name} is", "output": "good"} for name in names]

    splits = {"data": ("film", "plot", "cast", "song"), "validation": ("food", "tea"), "test": ("rice", "fish")}
    files = {split: written(tmp_path / f"{split}.jsonl", rows(*names)) for split, names in splits.items()}
    changes: dict[str, Any] = write_chats(tmp_path) if task == "chat" else {**files, "template": None}
    experiment = prepare(settings, tmp_path, **changes, seeds=1, trials=1)
    for name in ("document", "distil:4"):
        found = get_result(run_all(experiment, name, tmp_path / "cells"), RunSpec(name, "seed"))
        assert list(found.metrics) == ["perplexity", "loss", "bleu"]
        assert len(found.scores) == 2


def test_the_teacher_answers_the_same_inputs_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = prepare(settings, tmp_path)
    first = fit(experiment, "distil:4")
    monkeypatch.setattr(DistillSetup, "create_teacher", lambda self: pytest.fail("the teacher was asked again"))
    second = fit(experiment, "distil:4")
    assert first.payload is not None
    assert second.payload is not None
    assert torch.equal(first.payload.tensor, second.payload.tensor)
    fit(experiment, "distil:3", seed=1, learning_rate=0.1)


def test_another_number_of_virtual_tokens_is_swept_and_settings_of_other_methods_are_skipped(
    settings: Settings, tmp_path: Path
) -> None:
    sweep = {"num-virtual-tokens": ("3", "90"), "encoder": ("mlp",)}
    experiment = prepare(settings, tmp_path, seeds=1, trials=1, sweep=sweep)
    store = run_all(experiment, "distil:4", tmp_path / "cells")
    four = get_result(store, RunSpec("distil:4", "seed"))
    three = get_result(store, RunSpec("distil:4", "sweep", override=("num-virtual-tokens", "3")))
    assert three.num_trained_parameters == four.num_trained_parameters * 3 / 4
    for override, words in ((("num-virtual-tokens", "90"), "distil:90: "), (("encoder", "mlp"), "encoder")):
        failed = store.load_measurement(RunSpec("distil:4", "sweep", override=override))
        assert isinstance(failed, FailedRun)
        assert words in failed.error


def test_a_loss_that_is_not_a_number_is_reported(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = LabelDistillationObjective.compute_losses
    monkeypatch.setattr(LabelDistillationObjective, "compute_losses", lambda *given: losses(*given) * float("nan"))
    with pytest.raises(TrainingDiverged, match="not finite at learning rate 0.01"):
        fit(prepare(settings, tmp_path), "distil:4")
