"""Joint training of several prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from softprompt.errors import DiskFull, OutputExists, SoftPromptError, TrainingDiverged
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.collation import Batch
from softprompt.training import TuneResult, TuneSettings, micro_batches
from softprompt.training.callbacks import NullCallback, StepEvent
from softprompt.training.concurrent_runs import RunFailure, tune_concurrently
from softprompt.training.run_folder import RunFolder
from tests.tiny import tiny_model


def make_runs(folder: Path, data: Path, each: dict[str, dict[str, Any]]) -> dict[str, TuneSettings]:
    shared = {
        "model": "tiny",
        "data": data,
        "validation": data,
        "max_steps": 4,
        "batch_size": 3,
        "eval_steps": 2,
        "num_virtual_tokens": 3,
    }
    return {
        name: TuneSettings.from_dict({**shared, "output": folder / name, **run_overrides})
        for name, run_overrides in each.items()
    }


def test_each_run_is_saved_in_its_folder(model: FrozenModel, reviews: Path, tmp_path: Path) -> None:
    results = tune_concurrently(make_runs(tmp_path, reviews, {"a": {}, "b": {"method": "prompt"}}), model)
    for name, each in results.items():
        assert isinstance(each, TuneResult)
        assert each.selection_key
        assert SavedPrompt.from_folder(tmp_path / name).manifest.metrics["step"] == each.best["step"]
        assert (tmp_path / f"{name}.run" / "loss.png").is_file()


def test_diverging_run_does_not_affect_others(
    model: FrozenModel, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_losses = ClassificationObjective.compute_losses

    def losses(self: ClassificationObjective, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        return true_losses(self, hidden, batch) * (float("nan") if "Wild" in self.task.template else 1.0)

    calm_alone = tune_concurrently(make_runs(tmp_path / "alone", reviews, {"calm": {}}), model)["calm"]
    monkeypatch.setattr(ClassificationObjective, "compute_losses", losses)
    results = tune_concurrently(make_runs(tmp_path, reviews, {"calm": {}, "wild": {"template": "Wild: {text}"}}), model)
    wild, calm = results["wild"], results["calm"]
    assert isinstance(wild, RunFailure)
    assert isinstance(wild.error, TrainingDiverged)
    assert isinstance(calm, TuneResult)
    assert isinstance(calm_alone, TuneResult)
    assert calm.best == pytest.approx(calm_alone.best, abs=1e-5)
    assert not (tmp_path / "wild").exists()


@pytest.mark.parametrize(
    ("each", "words"),
    [
        ({}, "there are no runs"),
        ({"a": {}, "b": {"dtype": "bfloat16"}}, "b: `dtype` must be the same"),
        ({"a": {}, "b": {"output": "same"}, "c": {"output": "same"}}, "several runs write to same"),
        ({"a": {}, "b": {"layers": 4}}, "b: `layers=4`: choose 1 to 3"),
        ({"a": {}, "b": {"data": "nowhere.jsonl"}}, "b: file not found: nowhere.jsonl"),
    ],
)
def test_run_that_cannot_begin_prevents_all_runs(
    each: dict[str, dict[str, Any]], words: str, model: FrozenModel, reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(SoftPromptError, match=words):
        tune_concurrently(make_runs(tmp_path / "out", reviews, each), model)
    assert not (tmp_path / "out").exists()


def test_existing_output_is_rejected_unless_overwritten(model: FrozenModel, reviews: Path, tmp_path: Path) -> None:
    tune_concurrently(make_runs(tmp_path, reviews, {"a": {}}), model)
    with pytest.raises(OutputExists, match="a: "):
        tune_concurrently(make_runs(tmp_path, reviews, {"b": {}, "a": {}}), model)
    assert not (tmp_path / "b.run").exists()
    tune_concurrently(make_runs(tmp_path, reviews, {"b": {}, "a": {}}), model, overwrite=True)
    assert (tmp_path / "b").is_dir()


def test_runs_are_saved_as_they_end_and_a_full_disk_affects_one_run(
    model: FrozenModel, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[bool] = []
    log = RunFolder.log_step

    class FolderCheckingCallback(NullCallback):
        def on_step(self, event: StepEvent) -> None:
            saved.append((tmp_path / "short").is_dir())

    def log_or_fail(self: RunFolder, event: StepEvent) -> None:
        if self.path.name == "broken.run" and event.step == 3:
            raise DiskFull(f"no space left for {self.path}")
        log(self, event)

    monkeypatch.setattr(RunFolder, "log_step", log_or_fail)
    each = {"short": {"max_steps": 1}, "long": {"max_steps": 6}, "broken": {"max_steps": 6}}
    results = tune_concurrently(
        make_runs(tmp_path, reviews, each),
        model,
        lambda name: FolderCheckingCallback() if name == "long" else NullCallback(),
    )
    assert saved == [False, True, True, True, True, True]
    assert isinstance(results["long"], TuneResult)
    assert isinstance(results["broken"], RunFailure)
    assert "broken.run" in str(results["broken"].error)


class StoppingCallback(NullCallback):
    def __init__(self, step: int):
        self.step, self.last = step, 0

    def on_step(self, event: StepEvent) -> None:
        self.last = event.step

    def should_stop(self) -> bool:
        return self.last >= self.step


def test_stopped_runs_resume_together_with_a_new_run(reviews: Path, tmp_path: Path) -> None:
    each = {"a": {}, "b": {"method": "prompt", "seed": 1}}
    undisturbed = tune_concurrently(make_runs(tmp_path / "undisturbed", reviews, each), tiny_model("llama"))
    stopped = tune_concurrently(make_runs(tmp_path, reviews, each), tiny_model("llama"), lambda _: StoppingCallback(2))
    assert all(isinstance(run_result, TuneResult) and run_result.prompt is None for run_result in stopped.values())
    resumed = tune_concurrently(make_runs(tmp_path, reviews, {**each, "c": {}}), tiny_model("llama"), resume=True)
    for name in each:
        expected, found = undisturbed[name], resumed[name]
        assert isinstance(expected, TuneResult)
        assert isinstance(found, TuneResult)
        assert expected.prompt is not None
        assert found.prompt is not None
        torch.testing.assert_close(found.prompt.payload.tensor, expected.prompt.payload.tensor, atol=1e-5, rtol=0)
    assert (tmp_path / "c").is_dir()


def test_out_of_memory_shrinks_passes_with_a_warning(
    model: FrozenModel, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, group_sizes = micro_batches._forward_backward, []

    def fail_above_two(chunks: Sequence[micro_batches.MicroBatch]) -> list[float]:
        group_sizes.append(len(chunks))
        if len(chunks) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(chunks)

    monkeypatch.setattr(micro_batches, "_forward_backward", fail_above_two)
    each = {str(seed): {"seed": seed, "max_steps": 2} for seed in range(4)}
    results = tune_concurrently(make_runs(tmp_path, reviews, each), model)
    assert all(isinstance(run_result, TuneResult) and run_result.steps == 2 for run_result in results.values())
    messages = [record.getMessage() for record in caplog.records if record.getMessage().startswith("out of memory")]
    assert messages == ["out of memory with micro-batches of 4 prompts in a pass: continuing with fewer"]
    assert group_sizes == [4, 2, 2, 2, 2]


def test_out_of_memory_with_one_micro_batch_is_raised(
    model: FrozenModel, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: object) -> list[float]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(micro_batches, "_forward_backward", none)
    with pytest.raises(torch.OutOfMemoryError):
        tune_concurrently(make_runs(tmp_path, reviews, {"a": {}}), model)
