"""Multitask prompt tuning: shared parameters, parameters of each task, and joint training of tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt
from softprompt.data import read_examples
from softprompt.errors import RecordError, SettingError, TaskError
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.saved import SavedPrompt
from softprompt.training.encoded_dataset import EncodedDataset
from softprompt.training.prompt_setup import bind_task
from softprompt.training.prompt_trainable import PromptTrainable
from softprompt.training.task_mixture import TaskMixture
from softprompt.training.tune_settings import TuneSettings
from tests.conftest import REVIEWS
from tests.tiny import tiny_model

Write = Callable[[str, Sequence[Any]], Path]
OTHER = {"good": "bad", "bad": "good"}
MIXED = [{**row, "task": "straight"} for row in REVIEWS] + [
    {**row, "label": OTHER[row["label"]], "task": "opposite"} for row in REVIEWS
]
"""The same texts twice, with opposite labels: no single prompt can have both right."""


@pytest.fixture
def mixed(write_jsonl: Write) -> Path:
    return write_jsonl("mixed.jsonl", MIXED)


def tuned(data: Path, output: Path, **settings: Any) -> softprompt.Tuned:
    given: dict[str, Any] = {"method": "multitask", "task_field": "task", "num_virtual_tokens": 4, "batch_size": 8}
    return softprompt.tune(tiny_model("llama"), data=data, output=output, **{**given, **settings})


@pytest.mark.parametrize("rank", [1, 3])
def test_every_task_starts_from_the_same_embeddings(rank: int) -> None:
    options = PromptOptions("multitask", 4, tasks=("a", "b", "c"), task_rank=rank)
    model = tiny_model("llama")
    prompt, _ = build_prompt(options, model, "a good film")
    start, _ = build_prompt(PromptOptions("prompt", 4), model, "a good film")
    for payload in (prompt(), *(prompt.payload_for(task) for task in range(3))):
        torch.testing.assert_close(payload.tensor, start().tensor)
    H = model.shape.hidden_size
    assert prompt.num_parameters == 4 * H + 3 * rank * (4 + H)


def test_the_gradient_of_a_mixed_batch_is_the_mean_of_the_tasks_gradients(mixed: Path) -> None:
    model, examples = tiny_model("llama"), read_examples(mixed)
    mixture = TaskMixture.from_examples("task", examples)
    prompt, _ = build_prompt(PromptOptions("multitask", 4, tasks=mixture.task_names), model, "a film")
    settings = TuneSettings.from_dict({"data": str(mixed), "output": "p"})
    from softprompt.training.task_builder import build_task

    objective = bind_task(build_task(settings, examples), model, prompt)
    rows = list(EncodedDataset.from_examples(objective, examples, mixture))
    loss, *_ = PromptTrainable(prompt).accumulate_gradients(objective, rows, len(rows))
    together = {name: p.grad.clone() for name, p in prompt.named_parameters()}
    prompt.zero_grad()
    apart = [
        PromptTrainable(prompt).accumulate_gradients(objective, [row for row in rows if row.task_index == task], 5)[0]
        for task in (0, 1)
    ]
    assert loss == pytest.approx(sum(apart) / 2, abs=1e-5)
    for name, parameter in prompt.named_parameters():
        torch.testing.assert_close(together[name], parameter.grad / 2, atol=1e-6, rtol=1e-4)
    assert not torch.equal(prompt.columns.grad[0], prompt.columns.grad[1])


def test_contradicting_tasks_are_trained_jointly(mixed: Path, tmp_path: Path) -> None:
    run = tuned(
        mixed, tmp_path / "p", validation=mixed, max_steps=120, batch_size=16, learning_rate=0.05, num_virtual_tokens=6
    )
    assert run.best["accuracy"] > 0.85
    model = tiny_model("llama")
    for name, straight in (("straight", True), ("opposite", False)):
        saved = SavedPrompt.from_folder(tmp_path / "p" / "tasks" / name)
        assert run.task_prompts[name].manifest == saved.manifest
        own = [example for example in read_examples(mixed) if (example.get_text("task") == "straight") is straight]
        figures = softprompt.evaluate(model, saved, own, hard_prompt=False)
        assert figures["accuracy"] == saved.manifest.metrics["validation"]["accuracy"] > 0.8
    shared = softprompt.evaluate(
        model, SavedPrompt.from_folder(tmp_path / "p"), read_examples(mixed), hard_prompt=False
    )
    assert shared["accuracy"] == 0.5  # each text occurs with both labels


def test_a_new_prompt_can_start_from_the_shared_prompt_of_other_tasks(
    mixed: Path, reviews: Path, tmp_path: Path
) -> None:
    tuned(mixed, tmp_path / "p", max_steps=2)
    shared = SavedPrompt.from_folder(tmp_path / "p")
    softprompt.tune(
        tiny_model("llama"), data=reviews, output=tmp_path / "q", method="prompt", num_virtual_tokens=4, max_steps=1,
        init=f"prompt:{tmp_path / 'p'}", learning_rate=1e-9,
    )  # fmt: skip
    torch.testing.assert_close(SavedPrompt.from_folder(tmp_path / "q").payload.tensor, shared.payload.tensor)


def test_a_stopped_and_resumed_multitask_run_equals_an_uninterrupted_one(mixed: Path, tmp_path: Path) -> None:
    from tests.training.test_tune_pipeline import Recorder

    tuned(mixed, tmp_path / "whole", max_steps=6, task_rank=2)
    tuned(mixed, tmp_path / "halted", max_steps=6, task_rank=2, callback=Recorder(stop_at=3))
    tuned(mixed, tmp_path / "halted", max_steps=6, task_rank=2, resume=True)
    whole, halted = (
        {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (tmp_path / "whole", tmp_path / "halted")
    )
    assert whole == halted
    assert sum(name.endswith("softprompt.json") for name in whole) == 3


def test_a_task_without_validation_examples_is_saved_without_metrics(
    mixed: Path, write_jsonl: Write, tmp_path: Path
) -> None:
    straight = write_jsonl("straight.jsonl", [row for row in MIXED if row["task"] == "straight"])
    run = tuned(mixed, tmp_path / "p", max_steps=2, validation=straight)
    assert run.task_prompts["opposite"].manifest.metrics == {}
    assert "accuracy" in run.task_prompts["straight"].manifest.metrics["validation"]


def test_invalid_multitask_settings_and_data_are_rejected(
    mixed: Path, reviews: Path, write_jsonl: Write, tmp_path: Path
) -> None:
    def refused(kind: type[Exception], words: str, data: Path = mixed, **settings: Any) -> None:
        with pytest.raises(kind, match=words):
            tuned(data, tmp_path / "p", max_steps=1, **settings)
        assert not (tmp_path / "p").exists()

    refused(SettingError, "name them with `task_field`", task_field=None)
    refused(SettingError, '`method="multitask"`', method="prompt")
    refused(RecordError, "no field 'domain'", task_field="domain")
    refused(TaskError, "all examples have the task", data=write_jsonl("one.jsonl", MIXED[:24]))
    unsafe = write_jsonl("unsafe.jsonl", [{**row, "task": row["task"] + "/.."} for row in MIXED])
    refused(SettingError, "is not a folder name", data=unsafe)
    strange = write_jsonl("strange.jsonl", [{**row, "task": "third"} for row in MIXED])
    refused(RecordError, "use one of opposite, straight", validation=strange)
    refused(SettingError, "`task_rank=0`", task_rank=0)
