"""Runs resume from their own checkpoints only, and reevaluate the metrics in them."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import softprompt
from softprompt.errors import CheckpointError, DiskFull
from softprompt.saved import SavedPrompt
from softprompt.training.checkpoint import compute_run_hash, read_checkpoint, read_run_hash, write_checkpoint
from tests.conftest import REVIEWS
from tests.tiny import tiny_model

SETTINGS: dict[str, Any] = {
    "max_steps": 4,
    "batch_size": 4,
    "num_virtual_tokens": 2,
    "method": "prompt",
    "eval_steps": 2,
}


class StoppedAt:
    """Callback that requests a stop after a step."""

    def __init__(self, step: int):
        self.step, self.done = step, 0

    def on_begin(self, steps: int, done: int) -> None: ...

    def on_step(self, event: Any) -> None:
        self.done = event.step

    def on_evaluate(self, event: Any) -> None: ...

    def should_stop(self) -> bool:
        return self.done >= self.step


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of reviews."""
    path = tmp_path_factory.mktemp("data") / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in REVIEWS))
    return path


def tuned(reviews: Path, output: Path, **changes: Any) -> Any:
    given = {"data": reviews, "validation": reviews, **SETTINGS, **changes}
    seed = given.pop("base", 0)
    return softprompt.tune(tiny_model("llama", seed), output=output, **given)


@pytest.fixture
def tune(data: Path, tmp_path: Path) -> Callable[..., Any]:
    """Function that tunes a tiny prompt into a folder with a name."""
    return lambda name, **changes: tuned(data, tmp_path / name, **changes)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Prompt of a run without interruption."""
    return tuned(data, tmp_path_factory.mktemp("whole") / "p")


@pytest.fixture(scope="module")
def half(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that was stopped halfway."""
    folder = tmp_path_factory.mktemp("half")
    tuned(data, folder / "p", callback=StoppedAt(2))
    return folder / "p.run"


@pytest.fixture
def one(half: Path, tmp_path: Path) -> Path:
    """Checkpoint of a stopped run with the output `one`."""
    return shutil.copytree(half, tmp_path / "one.run") / "checkpoint.safetensors"


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any], **metadata: Any) -> None:
    """Change the state in a checkpoint, as an attacker who knows the format would."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        told = {**file.metadata(), **metadata}
    facts = json.loads(told["progress"])
    change(facts)
    save_file(tensors, path, {**told, "progress": json.dumps(facts)})


@pytest.mark.parametrize("kind", ["another seed", "another base", "other data"])
def test_checkpoint_of_another_run_is_rejected(tune: Callable[..., Any], one: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "flipped.jsonl").write_text(
        "".join(json.dumps({**row, "label": {"good": "bad", "bad": "good"}[row["label"]]}) + "\n" for row in REVIEWS)
    )
    others = {
        "another seed": {"seed": 7},
        "another base": {"base": 9},
        "other data": {"data": tmp_path / "flipped.jsonl"},
    }
    tune("two", callback=StoppedAt(2), **others[kind])
    shutil.copy(tmp_path / "two.run" / one.name, one)
    with pytest.raises(
        CheckpointError, match=r"one\.run.* is from another run, with other settings, data or another base"
    ):
        tune("one", resume=True)
    assert not (tmp_path / "one").exists()


def test_checkpoint_without_run_hash_is_rejected(tune: Callable[..., Any], one: Path) -> None:
    write_checkpoint(one, *read_checkpoint(one))
    assert read_run_hash(one) is None
    with pytest.raises(CheckpointError, match=r"does not name the run that wrote it.* `overwrite=True`"):
        tune("one", resume=True)


def test_run_resumes_after_its_folder_was_moved(
    tune: Callable[..., Any], whole: Any, one: Path, tmp_path: Path
) -> None:
    one.parent.rename(tmp_path / "moved.run")
    assert tune("moved", resume=True).prompt.files == whole.prompt.files


def test_forged_metrics_in_a_checkpoint_are_reevaluated(
    tune: Callable[..., Any], whole: Any, one: Path, tmp_path: Path
) -> None:
    def lie(facts: dict[str, Any]) -> None:
        facts["best"]["metrics"] = {name: 0.0001 if name == "loss" else 1.0 for name in facts["best"]["metrics"]}
        facts["best"]["never_answered"] = ["nobody"]

    for _ in ("in its middle", "at its end"):
        rewrite(one, lie)
        resumed = tune("one", resume=True)
        assert resumed.best == whole.best
        assert resumed.unpredicted_labels == whole.unpredicted_labels
        assert SavedPrompt.from_folder(tmp_path / "one").files == whole.prompt.files


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts.update(step=-1), "step: Input should be greater"),
        (lambda facts: facts.update(step="soon"), "step: Input should be a valid integer"),
        (lambda facts: facts.pop("stale"), "stale: Field required"),
        (lambda facts: facts.update(seconds=float("inf")), "seconds: Input should be a finite number"),
        (lambda facts: facts["best"].update(metrics=3), "metrics: Input should be a valid dictionary"),
        (lambda facts: facts["best"].update(step=99), "its best step is after its last step"),
    ],
)
def test_invalid_progress_raises_checkpoint_error(
    one: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    rewrite(one, change)
    with pytest.raises(CheckpointError, match=f"is damaged .*{words}.* `overwrite=True`"):
        read_checkpoint(one)


@pytest.mark.parametrize("best", [torch.full((2, 24), float("nan")), torch.ones(1)])
def test_invalid_best_prompt_is_rejected(tune: Callable[..., Any], one: Path, best: torch.Tensor) -> None:
    progress, parameters, moments = read_checkpoint(one)
    assert progress.best is not None
    progress.best.parameters = dict.fromkeys(progress.best.parameters, best)
    write_checkpoint(one, progress, parameters, moments, read_run_hash(one))
    with pytest.raises(CheckpointError, match="metrics that are not finite|other parameters"):
        tune("one", resume=True)


def test_run_hash_covers_settings_and_data_but_not_output() -> None:
    facts = {"settings": {"max_steps": 3, "output": "a"}, "data": {"data": "x", "base": "y"}, "start": "text"}
    same = {**facts, "settings": {"output": "b", "max_steps": 3}, "start": "elsewhere"}
    assert compute_run_hash(facts) == compute_run_hash(same)
    assert compute_run_hash(facts) != compute_run_hash({**facts, "data": {"data": "x", "base": "z"}})


def test_full_disk_at_a_checkpoint_preserves_the_previous_checkpoint(
    tune: Callable[..., Any], whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == "checkpoint.safetensors" and Path(target).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(DiskFull, match=r"no space left for .*checkpoint.*last checkpoint with `resume=True`"):
            tune("one", save_steps=1)
    assert sorted(path.name for path in (tmp_path / "one.run").iterdir()) == [
        "checkpoint.safetensors", "metrics.jsonl", "run.json",
    ]  # fmt: skip
    assert read_checkpoint(tmp_path / "one.run" / "checkpoint.safetensors")[0].step == 1
    assert tune("one", save_steps=1, resume=True).prompt.files == whole.prompt.files


def test_run_of_an_earlier_version_is_rejected_for_its_missing_hash_only(tune: Callable[..., Any], one: Path) -> None:
    settings = one.parent / "run.json"
    facts = json.loads(settings.read_text())
    del facts["settings"]["max_eval_samples"]
    settings.write_text(json.dumps(facts))
    write_checkpoint(one, *read_checkpoint(one))
    with pytest.raises(CheckpointError, match="does not name the run that wrote it"):
        tune("one", resume=True)
