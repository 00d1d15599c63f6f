"""The training pipeline through `softprompt.tune`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt
from softprompt.errors import CheckpointError, OutputExists, RecordError, SettingError, TaskError
from softprompt.saved import SavedPrompt
from softprompt.training import EvalEvent, StepEvent
from softprompt.training.checkpoint import read_checkpoint, write_checkpoint
from tests.strategies import METHODS_FOR_ANY_TASK, METHODS_ON_FAMILIES
from tests.tiny import template_for, tiny_model

Write = Callable[[str, Sequence[Any]], Path]
SHORT = softprompt.SamplingParams(max_new_tokens=12)
SMALL: dict[str, Any] = {"num_virtual_tokens": 3, "batch_size": 4}


class Recorder:
    """Callback that records events, and may request a stop."""

    def __init__(self, stop_at: int = 0):
        self.steps: list[StepEvent] = []
        self.evaluations: list[EvalEvent] = []
        self.stop_at = stop_at

    def on_begin(self, steps: int, done: int) -> None:
        self.began = (steps, done)

    def on_step(self, event: StepEvent) -> None:
        self.steps.append(event)

    def on_evaluate(self, event: EvalEvent) -> None:
        self.evaluations.append(event)

    def should_stop(self) -> bool:
        return bool(self.stop_at) and len(self.steps) >= self.stop_at


# Every family learns by embeddings and by a prefix, which is all that a family sees of a method, and every method on
# one family of each kind. Not those that show examples: they learn the answers in them as well, and tests/prompts looks
# at the sum.
PAYLOADS, KINDS_OF_MODELS = ("prompt", "prefix"), ("llama", "bert", "t5")


@pytest.mark.parametrize(
    ("family", "method", "encoder"),
    [
        (family, method, encoder)
        for family, method, encoder in METHODS_ON_FAMILIES
        if (method, encoder) in METHODS_FOR_ANY_TASK
        and (family in KINDS_OF_MODELS or (method in PAYLOADS and encoder == "none"))
    ],
)
def test_every_method_and_model_family_lowers_the_loss(
    family: str, method: str, encoder: str, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "softprompt.training.prepared_run.plot_loss", lambda *_: None
    )  # it would take long for so many runs
    callback = Recorder()
    softprompt.tune(
        tiny_model(family), data=reviews, validation=reviews, output=tmp_path / "p", method=method, encoder=encoder,
        max_steps=50, eval_steps=50, num_virtual_tokens=4, batch_size=12, learning_rate=0.03, callback=callback,
        template=template_for(family),
    )  # fmt: skip
    first, last = (sum(s.loss for s in part) / 5 for part in (callback.steps[:5], callback.steps[-5:]))
    assert last < 0.95 * first


def test_training_a_generation_task_lowers_loss_and_perplexity(pairs: Path, tmp_path: Path) -> None:
    model = tiny_model("llama")
    callback = Recorder()
    result = softprompt.tune(
        model,
        data=pairs,
        validation=pairs,
        output=tmp_path / "p",
        max_steps=60,
        batch_size=12,
        learning_rate=0.05,
        callback=callback,
    )
    assert callback.evaluations[-1].metrics["loss"] < 0.7 * callback.steps[0].loss
    assert set(result.best) == {"step", "perplexity", "loss"}
    prompt = SavedPrompt.from_folder(tmp_path / "p")
    pieces = list(softprompt.respond(model, prompt, "name: Aro, food: tea", SHORT))
    metrics = softprompt.evaluate(model, prompt, load_examples(pairs), sampling=SHORT)
    assert "".join(pieces)
    assert metrics["perplexity"] < metrics["hard_prompt"]["perplexity"]
    assert 0 <= metrics["bleu"] <= 100


def load_examples(path: Path) -> list[Any]:
    from softprompt.data import read_examples

    return read_examples(path)


def test_best_step_is_saved_instead_of_the_last(reviews: Path, tmp_path: Path) -> None:
    callback = Recorder()
    result = softprompt.tune(
        tiny_model("llama"), data=reviews, validation=reviews, output=tmp_path / "p", max_steps=12, eval_steps=2,
        learning_rate=0.5, callback=callback, **SMALL,
    )  # fmt: skip
    best = max(callback.evaluations, key=lambda e: (e.metrics["accuracy"], -e.metrics["loss"]))
    assert result.best == {"step": best.step, **best.metrics}
    assert callback.evaluations[-1].step == 12
    measured = softprompt.evaluate(tiny_model("llama"), SavedPrompt.from_folder(tmp_path / "p"), load_examples(reviews))
    assert measured["accuracy"] == best.metrics["accuracy"]
    assert measured["loss"] == pytest.approx(best.metrics["loss"], abs=1e-5)


def test_early_stopping_ends_a_run(reviews: Path, tmp_path: Path) -> None:
    result = softprompt.tune(
        tiny_model("llama"), data=reviews, validation=reviews, output=tmp_path / "p", max_steps=400, eval_steps=1,
        early_stopping_patience=3, learning_rate=1e-9, **SMALL,
    )  # fmt: skip
    assert result.steps < 40


def test_validation_split_is_held_out_by_default(write_jsonl: Write, tmp_path: Path) -> None:
    data = write_jsonl("data.jsonl", [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(60)])
    callback = Recorder()
    softprompt.tune(tiny_model("llama"), data=data, output=tmp_path / "p", max_steps=2, callback=callback, **SMALL)
    assert callback.evaluations


def test_last_step_is_saved_if_there_are_too_few_examples_to_hold_out(
    reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", max_steps=2, **SMALL)
    assert result.best == {}
    assert "too few examples to hold some out" in caplog.text


def test_run_folder_has_settings_metrics_checkpoint_and_plot(reviews: Path, tmp_path: Path) -> None:
    softprompt.tune(tiny_model("llama"), data=reviews, validation=reviews, output=tmp_path / "p", max_steps=4, **SMALL)
    run = tmp_path / "p.run"
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoint.safetensors",
        "loss.png",
        "metrics.jsonl",
        "run.json",
    ]
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    settings = json.loads((run / "run.json").read_text())
    assert settings["settings"]["num_virtual_tokens"] == 3
    assert settings["learning_rate"] > 0


def test_stopped_run_resumes_to_the_same_prompt(reviews: Path, tmp_path: Path) -> None:
    settings = {"data": reviews, "validation": reviews, "max_steps": 6, **SMALL}
    softprompt.tune(tiny_model("llama"), output=tmp_path / "whole", **settings)
    stopped = softprompt.tune(tiny_model("llama"), output=tmp_path / "parts", callback=Recorder(stop_at=3), **settings)
    assert stopped.prompt is None
    assert stopped.steps == 3
    assert not (tmp_path / "parts").exists()
    softprompt.tune(tiny_model("llama"), output=tmp_path / "parts", resume=True, **settings)
    whole, parts = (SavedPrompt.from_folder(tmp_path / name) for name in ("whole", "parts"))
    assert whole.manifest.content_hash == parts.manifest.content_hash


def test_resuming_with_other_data_is_rejected(write_jsonl: Write, tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(20)]
    data = write_jsonl("data.jsonl", rows)
    softprompt.tune(tiny_model("llama"), data=data, output=tmp_path / "p", max_steps=2, **SMALL)
    write_jsonl("data.jsonl", rows[:-1])
    with pytest.raises(CheckpointError, match="other data"):
        softprompt.tune(tiny_model("llama"), data=data, output=tmp_path / "p", max_steps=2, resume=True, **SMALL)


def test_checkpoint_of_other_parameters_is_rejected(reviews: Path, tmp_path: Path) -> None:
    """A version with other parameters may have written it."""
    softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", max_steps=2, **SMALL)
    path = tmp_path / "p.run" / "checkpoint.safetensors"
    progress, parameters, moments = read_checkpoint(path)
    write_checkpoint(path, progress, {f"old_{name}": each for name, each in parameters.items()}, moments)
    with pytest.raises(CheckpointError, match="holds other parameters .* `overwrite=True`"):
        softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", max_steps=2, resume=True, **SMALL)


def test_truncated_checkpoint_is_rejected(reviews: Path, tmp_path: Path) -> None:
    softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", max_steps=2, **SMALL)
    checkpoint = tmp_path / "p.run" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="is damaged"):
        softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", max_steps=2, resume=True, **SMALL)


def test_unfinished_run_is_not_overwritten_by_default(reviews: Path, tmp_path: Path) -> None:
    settings = {"data": reviews, "output": tmp_path / "p", "max_steps": 4, **SMALL}
    softprompt.tune(tiny_model("llama"), callback=Recorder(stop_at=2), **settings)
    with pytest.raises(OutputExists, match="`resume=True`"):
        softprompt.tune(tiny_model("llama"), **settings)
    assert softprompt.tune(tiny_model("llama"), overwrite=True, **settings).steps == 4


@pytest.mark.parametrize("has_validation", [False, True])
def test_diverging_run_saves_the_best_prompt_so_far(
    has_validation: bool, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from softprompt.tasks.classification_task import ClassificationObjective

    true_losses, calls = ClassificationObjective.compute_losses, iter(range(100))

    def losses(self: Any, hidden: torch.Tensor, batch: Any) -> torch.Tensor:
        return true_losses(self, hidden, batch) * (float("nan") if next(calls) >= 5 else 1.0)

    monkeypatch.setattr(ClassificationObjective, "compute_losses", losses)
    validation = {"validation": reviews} if has_validation else {}
    with pytest.raises(softprompt.SoftPromptError, match=r"step 6, learning rate .*`learning_rate=") as caught:
        softprompt.tune(
            tiny_model("llama"), data=reviews, output=tmp_path / "p", max_steps=9, eval_steps=2, **validation, **SMALL
        )
    assert (tmp_path / "p").exists() == has_validation
    if has_validation:
        assert "the best prompt so far (step" in str(caught.value)
        assert SavedPrompt.from_folder(tmp_path / "p").manifest.metrics["step"] in (2, 4)


def test_gradient_accumulation_equals_one_large_batch(pairs: Path, tmp_path: Path) -> None:
    """A token has the same weight in every pass: 4 micro-batches of 2 equal 1 of 8."""
    payloads = []
    for name, batch_size, accumulate in (("one", 8, 1), ("four", 2, 4)):
        softprompt.tune(
            tiny_model("llama"), data=pairs, output=tmp_path / name, max_steps=3, num_virtual_tokens=3,
            batch_size=batch_size, gradient_accumulation_steps=accumulate,
        )  # fmt: skip
        payloads.append(SavedPrompt.from_folder(tmp_path / name).payload.tensor)
    torch.testing.assert_close(*payloads, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"max_steps": 0}, SettingError, "`max_steps=0`"),
        ({"learning_rate": -1}, SettingError, "`learning_rate=-1`"),
        ({"unheard_of": 1}, SettingError, "unknown setting 'unheard_of'"),
        ({"num_virtual_tokens": 0}, SettingError, "0 virtual tokens: choose at least 1"),
        ({"num_virtual_tokens": 128}, SettingError, "fewer than 128"),
        ({"method": "magic"}, SettingError, "unknown method 'magic': one of prompt, residual, p-tun"),
        ({"init": "magic"}, SettingError, "unknown init 'magic'"),
        ({"encoder": "lstm"}, SettingError, "unknown encoder 'lstm': one of none, mlp"),
        ({"placement": "after-text"}, SettingError, "prefix does not support `placement` after-text"),
        ({"method": "prompt", "freeze_sink": True}, SettingError, "have a sink to freeze"),
        ({"template": "no field"}, TaskError, "has no field"),
        ({"template": "{txt}"}, TaskError, r"has a field \{txt\}, but .*reviews.jsonl:1 has the fields text, label"),
        ({"labels": ["good", "fine"]}, TaskError, "no training example has the label fine"),
        ({"labels": ["good"]}, TaskError, "at least two"),
        ({"task": "generation", "template": "{text}", "labels": ["good", "bad"]}, TaskError, "for class"),
        ({"label_field": "stars", "task": "classification"}, RecordError, "no field 'stars'"),
        ({"task": "generation", "head": "linear", "response_field": "text", "template": "{text}"}, SettingError, "one"),
    ],
)  # fmt: skip
def test_invalid_settings_are_rejected_and_nothing_is_written(
    settings: dict[str, Any], error: type[Exception], message: str, reviews: Path, tmp_path: Path
) -> None:
    all_settings = {"data": reviews, "output": tmp_path / "p", "max_steps": 2, **SMALL, **settings}
    with pytest.raises(error, match=message):
        softprompt.tune(tiny_model("llama"), **all_settings)
    assert not (tmp_path / "p").exists()
    assert not (tmp_path / "p.run").exists()


def test_frozen_sink_does_not_change(reviews: Path, tmp_path: Path) -> None:
    model = tiny_model("llama")
    for name, freeze in (("free", False), ("frozen", True)):
        softprompt.tune(
            model,
            data=reviews,
            output=tmp_path / name,
            max_steps=3,
            freeze_sink=freeze,
            learning_rate=0.1,
            init="text:the film was great",
            **SMALL,
        )
    with torch.no_grad():
        from softprompt.model import PromptEmbeddings

        words = model.embed_tokens(torch.tensor([model.prompt_tokenizer.tokenize("the film was great")[:3]]))[0]
        start = model.compile_payload(PromptEmbeddings(words)).tensor
    free, frozen = (SavedPrompt.from_folder(tmp_path / name).payload.tensor for name in ("free", "frozen"))
    assert torch.equal(frozen[:, 0, :, 0], start[:, 0, :, 0])
    assert not torch.equal(free[:, 0, :, 0], start[:, 0, :, 0])
    assert not torch.equal(frozen[:, 1, :, 0], start[:, 1, :, 0])
    trained = SavedPrompt.from_folder(tmp_path / "frozen").manifest.trained_parameters
    assert trained == frozen.numel() - frozen[:, 0, :, 0].numel()
