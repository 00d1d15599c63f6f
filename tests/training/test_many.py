"""Many prompts in one run: what they share, and what becomes of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from softprompt.errors import DiskFull, OutputExists, SoftPromptError, TrainingDiverged
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.objective import Batch
from softprompt.training import Tuned, TuneSettings, passes
from softprompt.training.many import Failed, run_together
from softprompt.training.run_folder import RunFolder
from softprompt.training.watching import Stepped, Unwatched
from tests.tiny import tiny_model


def runs(folder: Path, data: Path, each: dict[str, dict[str, Any]]) -> dict[str, TuneSettings]:
    shared = {
        "model": "tiny",
        "data": data,
        "validation": data,
        "steps": 4,
        "batch_size": 3,
        "evaluate_every": 2,
        "virtual_tokens": 3,
    }
    return {name: TuneSettings.of({**shared, "output": folder / name, **own}) for name, own in each.items()}


def test_each_is_saved_in_its_folder(model: FrozenModel, reviews: Path, tmp_path: Path) -> None:
    ended = run_together(runs(tmp_path, reviews, {"a": {}, "b": {"method": "prompt"}}), model)
    for name, each in ended.items():
        assert isinstance(each, Tuned)
        assert each.quality
        assert SavedPrompt.read(tmp_path / name).manifest.metrics["step"] == each.best["step"]
        assert (tmp_path / f"{name}.run" / "loss.png").is_file()


def test_one_that_diverges_leaves_the_others_alone(
    model: FrozenModel, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_losses = ClassificationObjective.losses

    def losses(self: ClassificationObjective, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        return true_losses(self, hidden, batch) * (float("nan") if "Wild" in self.task.template else 1.0)

    calm_alone = run_together(runs(tmp_path / "alone", reviews, {"calm": {}}), model)["calm"]
    monkeypatch.setattr(ClassificationObjective, "losses", losses)
    ended = run_together(runs(tmp_path, reviews, {"calm": {}, "wild": {"template": "Wild: {text}"}}), model)
    wild, calm = ended["wild"], ended["calm"]
    assert isinstance(wild, Failed)
    assert isinstance(wild.error, TrainingDiverged)
    assert isinstance(calm, Tuned)
    assert isinstance(calm_alone, Tuned)
    assert calm.best == pytest.approx(calm_alone.best, abs=1e-5)
    assert not (tmp_path / "wild").exists()


@pytest.mark.parametrize(
    ("each", "words"),
    [
        ({}, "no runs"),
        ({"a": {}, "b": {"dtype": "bfloat16"}}, "b: `dtype` must be the same"),
        ({"a": {}, "b": {"output": "same"}, "c": {"output": "same"}}, "several runs write to same"),
        ({"a": {}, "b": {"layers": 4}}, "b: `layers=4`: .* has 3"),
        ({"a": {}, "b": {"data": "nowhere.jsonl"}}, "b: no file nowhere.jsonl"),
    ],
)
def test_one_that_cannot_begin_keeps_all_from_it(
    each: dict[str, dict[str, Any]], words: str, model: FrozenModel, reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(SoftPromptError, match=words):
        run_together(runs(tmp_path / "out", reviews, each), model)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_taken(model: FrozenModel, reviews: Path, tmp_path: Path) -> None:
    run_together(runs(tmp_path, reviews, {"a": {}}), model)
    with pytest.raises(OutputExists, match="a: "):
        run_together(runs(tmp_path, reviews, {"b": {}, "a": {}}), model)
    assert not (tmp_path / "b.run").exists()
    run_together(runs(tmp_path, reviews, {"b": {}, "a": {}}), model, overwrite=True)
    assert (tmp_path / "b").is_dir()


def test_each_is_saved_when_it_ends_and_one_that_cannot_be_leaves_the_others(
    model: FrozenModel, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[bool] = []
    log = RunFolder.log_step

    class Looks(Unwatched):
        def stepped(self, event: Stepped) -> None:
            saved.append((tmp_path / "short").is_dir())

    def full(self: RunFolder, event: Stepped) -> None:
        if self.path.name == "broken.run" and event.step == 3:
            raise DiskFull(f"no space left for {self.path}")
        log(self, event)

    monkeypatch.setattr(RunFolder, "log_step", full)
    each = {"short": {"steps": 1}, "long": {"steps": 6}, "broken": {"steps": 6}}
    ended = run_together(runs(tmp_path, reviews, each), model, lambda name: Looks() if name == "long" else Unwatched())
    assert saved == [False, True, True, True, True, True]
    assert isinstance(ended["long"], Tuned)
    assert isinstance(ended["broken"], Failed)
    assert "broken.run" in str(ended["broken"].error)


class StopsAt(Unwatched):
    def __init__(self, step: int):
        self.step, self.last = step, 0

    def stepped(self, event: Stepped) -> None:
        self.last = event.step

    def stop_requested(self) -> bool:
        return self.last >= self.step


def test_stopped_and_resumed_with_one_more(reviews: Path, tmp_path: Path) -> None:
    each = {"a": {}, "b": {"method": "prompt", "seed": 1}}
    undisturbed = run_together(runs(tmp_path / "undisturbed", reviews, each), tiny_model("llama"))
    stopped = run_together(runs(tmp_path, reviews, each), tiny_model("llama"), lambda _: StopsAt(2))
    assert all(isinstance(one, Tuned) and one.prompt is None for one in stopped.values())
    resumed = run_together(runs(tmp_path, reviews, {**each, "c": {}}), tiny_model("llama"), resume=True)
    for name in each:
        expected, found = undisturbed[name], resumed[name]
        assert isinstance(expected, Tuned)
        assert isinstance(found, Tuned)
        assert expected.prompt is not None
        assert found.prompt is not None
        torch.testing.assert_close(found.prompt.payload.tensor, expected.prompt.payload.tensor, atol=1e-5, rtol=0)
    assert (tmp_path / "c").is_dir()


def test_out_of_memory_splits_the_batch_and_says_so(
    model: FrozenModel, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, seen = passes._pass, []

    def scarce(chunks: Sequence[passes.Chunk]) -> list[float]:
        seen.append(len(chunks))
        if len(chunks) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(chunks)

    monkeypatch.setattr(passes, "_pass", scarce)
    each = {str(seed): {"seed": seed, "steps": 2} for seed in range(4)}
    ended = run_together(runs(tmp_path, reviews, each), model)
    assert all(isinstance(one, Tuned) and one.steps == 2 for one in ended.values())
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("out of memory")]
    assert said == ["out of memory with the rows of 4 prompts in a pass: going on with fewer"]
    assert seen == [4, 2, 2, 2, 2]


def test_out_of_memory_with_one_prompt_is_the_users_to_mend(
    model: FrozenModel, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: object) -> list[float]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(passes, "_pass", none)
    with pytest.raises(torch.OutOfMemoryError):
        run_together(runs(tmp_path, reviews, {"a": {}}), model)
