"""Runs of `softprompt tune` that are interrupted, diverge, or are resumed."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt as package
from softprompt.saved import SavedPrompt
from softprompt.tasks.classification_task import ClassificationObjective
from tests.cli.conftest import Softprompt, StopAfter, Tune, files, logged


@pytest.fixture
def stopped(base: Path, reviews: Path, output: Path) -> Path:
    """Output of a run that was stopped after two of its six steps."""
    package.tune(
        str(base),
        data=reviews,
        validation=reviews,
        output=output,
        max_steps=6,
        batch_size=4,
        num_virtual_tokens=3,
        callback=StopAfter(2),
    )
    return output


def test_ctrl_c_stops_after_a_step_with_a_checkpoint(tune: Tune, output: Path) -> None:
    metrics = output.with_name("p.run") / "metrics.jsonl"
    before = signal.getsignal(signal.SIGINT)
    done = threading.Event()

    def press() -> None:
        while not done.wait(0.01):
            if metrics.is_file() and metrics.read_text():
                os.kill(os.getpid(), signal.SIGINT)
                return

    thread = threading.Thread(target=press)
    thread.start()
    ran = tune("--max-steps", 10**6, "--json")
    done.set()
    thread.join()
    assert ran.json["prompt"] is None
    assert ran.json["steps"] == len(logged(output)) >= 1
    assert "stopping after this step" in ran.err
    assert output.with_name("p.run").joinpath("checkpoint.safetensors").is_file()
    assert not output.exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_resume_continues_with_the_settings_of_the_run(softprompt: Softprompt, stopped: Path) -> None:
    ran = softprompt("tune", "--output", stopped, "--resume", "--json")
    assert ran.json["steps"] == 6
    assert "continuing after step 2" in ran.err
    assert [line["step"] for line in logged(stopped) if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert SavedPrompt.from_folder(stopped).manifest.num_virtual_tokens == 3


def test_resume_accepts_the_same_settings_again(
    softprompt: Softprompt, stopped: Path, reviews: Path, base: Path
) -> None:
    same = ["--data", reviews, "--model", base, "--max-steps", 6, "--num-virtual-tokens", 3, "--batch-size", 4]
    assert softprompt("tune", "--output", stopped, "--resume", *same, "--json").json["steps"] == 6


def test_resume_accepts_a_relative_path_of_the_output(
    softprompt: Softprompt, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stopped.parent)
    assert softprompt("tune", "--output", "p", "--resume", "--json").json["steps"] == 6
    assert SavedPrompt.from_folder(stopped)


def test_resume_of_a_finished_run_saves_the_same_prompt(tune: Tune, softprompt: Softprompt, output: Path) -> None:
    first = tune("--json").json
    before = files(output)
    again = softprompt("tune", "--output", output, "--resume", "--json").json
    assert again == first
    assert files(output) == before


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--max-steps", "7"], "--max-steps"),
        (["--learning-rate", "0.5"], "--learning-rate"),
        (["--method", "prompt"], "--method"),
        (["--template", "{text} is"], "--template"),
        (["--labels", "bad,good"], "--labels"),
        (["--model", "some/name"], "--model"),
        (["--freeze-sink"], "--freeze-sink"),
    ],
)
def test_resume_rejects_a_changed_option(softprompt: Softprompt, stopped: Path, options: list[str], name: str) -> None:
    before = files(stopped.parent)
    ran = softprompt("tune", "--output", stopped, "--resume", *options)
    ran.refused("started with other values of", name, "--overwrite")
    assert files(stopped.parent) == before


def test_resume_rejects_a_changed_setting_of_a_config_file(
    softprompt: Softprompt, stopped: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text("max-steps = 9\nnum-virtual-tokens = 3\n")
    ran = softprompt("tune", "--output", stopped, "--resume", "--config", tmp_path / "run.toml")
    ran.refused("started with other values of --max-steps:")


def test_resume_rejects_changed_data(softprompt: Softprompt, stopped: Path, reviews: Path) -> None:
    with reviews.open("a") as file:
        file.write('{"text": "one more", "label": "good"}\n')
    softprompt("tune", "--output", stopped, "--resume").refused("began with other data", "--overwrite")


def test_tune_restarts_an_unfinished_run_only_with_overwrite(tune: Tune, stopped: Path) -> None:
    tune().refused("p.run holds an unfinished run", "--resume", "--overwrite")
    assert tune("--overwrite", "--json").json["steps"] == 3


def test_resume_without_a_run_is_rejected(softprompt: Softprompt, output: Path) -> None:
    softprompt("tune", "--output", output, "--resume").refused("nothing to resume", "run.json is missing")
    softprompt("tune", "--resume").refused("--resume needs --output")
    assert not output.parent.exists()


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"settings": 3}'])
def test_resume_rejects_a_corrupt_run_file(softprompt: Softprompt, stopped: Path, text: str) -> None:
    (stopped.with_name("p.run") / "run.json").write_text(text)
    softprompt("tune", "--output", stopped, "--resume").refused("run.json is damaged", "--overwrite")


def test_resume_rejects_a_corrupt_checkpoint(softprompt: Softprompt, stopped: Path) -> None:
    checkpoint = stopped.with_name("p.run") / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    softprompt("tune", "--output", stopped, "--resume").refused("checkpoint.safetensors is damaged", "--overwrite")


def test_a_nan_loss_stops_the_run_and_saves_the_best_step_so_far(
    tune: Tune, reviews: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, steps = ClassificationObjective.compute_losses, itertools.count(1)

    def diverging(self: ClassificationObjective, hidden: torch.Tensor, batch: Any) -> torch.Tensor:
        return losses(self, hidden, batch) * (float("nan") if next(steps) == 3 else 1)

    monkeypatch.setattr(ClassificationObjective, "compute_losses", diverging)
    ran = tune("--validation", reviews, "--eval-steps", 1, "--learning-rate", "0.008", "--max-steps", 5)
    ran.refused("not a number at step 3", "learning rate 0.0", f"is in {output}", "Try --learning-rate 0.002")
    evaluations = [line for line in logged(output) if "validation" in line]
    assert (
        SavedPrompt.from_folder(output).manifest.metrics["step"] in {line["step"] for line in evaluations[1:]} == {1, 2}
    )


@pytest.mark.parametrize(("eval_steps", "kept"), [(1, True), (2, False)])
def test_a_nan_gradient_stops_the_run_before_its_step(
    tune: Tune,
    reviews: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    eval_steps: int,
    kept: bool,
) -> None:
    """The last loss is finite, but the parameters after the step would not be."""
    losses = ClassificationObjective.compute_losses
    steps = itertools.count(1)

    def diverging(self: ClassificationObjective, hidden: torch.Tensor, batch: Any) -> torch.Tensor:
        nothing = (hidden * 0).sum().sqrt() if next(steps) == 2 else 0
        return losses(self, hidden, batch) + nothing

    monkeypatch.setattr(ClassificationObjective, "compute_losses", diverging)
    ran = tune("--validation", reviews, "--max-steps", 2, "--eval-steps", eval_steps)
    ran.refused("gradient was not a number at step 2", f"is in {output}" if kept else "no prompt was saved")
    assert output.exists() == kept
    assert not kept or SavedPrompt.from_folder(output).manifest.metrics["step"] == 1


def test_an_evaluation_with_nan_loss_is_not_selected_as_the_best_step(
    tune: Tune, reviews: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = ClassificationObjective.compute_metrics

    def unmeasurable(self: ClassificationObjective, outputs: torch.Tensor, rows: Any) -> dict[str, float]:
        return {**metrics(self, outputs, rows), "loss": float("nan")}

    monkeypatch.setattr(ClassificationObjective, "compute_metrics", unmeasurable)
    tune("--validation", reviews).refused("not a number", "no prompt was saved")
    assert not output.exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_at_any_write_leaves_the_old_or_the_new_prompt(
    tune: Tune, reviews: Path, output: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    before: dict[str, bytes] = {}
    left = []
    if overwrite:
        assert tune("--method", "prompt").code == 0
        before = files(output)
    fsync = os.fsync
    for n in itertools.count(1):
        calls = itertools.count(1)

        def full(descriptor: int, calls: Any = calls, n: int = n) -> None:
            if next(calls) == n:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        ran = tune("--overwrite", "--validation", reviews)
        if ran.code == 0:
            break
        ran.refused("no space left for")
        left.append(files(output))
        assert not [name for name in files(output.parent) if ".tmp" in name]
    assert n > 6
    assert left.count(before) >= 6
    assert all(each in (before, files(output)) for each in left)
