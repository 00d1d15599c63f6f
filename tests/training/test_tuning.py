"""The main job through its Python front door."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt
from softprompt.errors import CheckpointError, OutputExists, RowError, SettingError, TaskError
from softprompt.saved import SavedPrompt
from softprompt.training import Evaluated, Stepped
from softprompt.training.checkpoint import read_checkpoint, write_checkpoint
from tests.strategies import METHODS_FOR_ANY_TASK, METHODS_ON_FAMILIES
from tests.tiny import template_for, tiny_model

Write = Callable[[str, Sequence[Any]], Path]
SHORT = softprompt.Sampling(max_new_tokens=12)
SMALL: dict[str, Any] = {"virtual_tokens": 3, "batch_size": 4}


class Recorder:
    """A watcher that remembers, and may ask to stop."""

    def __init__(self, stop_at: int = 0):
        self.steps: list[Stepped] = []
        self.evaluations: list[Evaluated] = []
        self.stop_at = stop_at

    def begin(self, steps: int, done: int) -> None:
        self.began = (steps, done)

    def stepped(self, event: Stepped) -> None:
        self.steps.append(event)

    def evaluated(self, event: Evaluated) -> None:
        self.evaluations.append(event)

    def stop_requested(self) -> bool:
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
def test_every_method_learns_and_every_family(
    family: str, method: str, encoder: str, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softprompt.training.tuning.draw_curve", lambda *_: None)  # not for each of so many
    watcher = Recorder()
    softprompt.tune(
        tiny_model(family), data=reviews, validation=reviews, output=tmp_path / "p", method=method, encoder=encoder,
        steps=50, evaluate_every=50, virtual_tokens=4, batch_size=12, learning_rate=0.03, watcher=watcher,
        template=template_for(family),
    )  # fmt: skip
    first, last = (sum(s.loss for s in part) / 5 for part in (watcher.steps[:5], watcher.steps[-5:]))
    assert last < 0.95 * first


def test_a_generation_is_learnt(pairs: Path, tmp_path: Path) -> None:
    model = tiny_model("llama")
    watcher = Recorder()
    tuned = softprompt.tune(
        model,
        data=pairs,
        validation=pairs,
        output=tmp_path / "p",
        steps=60,
        batch_size=12,
        learning_rate=0.05,
        watcher=watcher,
    )
    assert watcher.evaluations[-1].metrics["loss"] < 0.7 * watcher.steps[0].loss
    assert set(tuned.best) == {"step", "perplexity", "loss"}
    prompt = SavedPrompt.read(tmp_path / "p")
    pieces = list(softprompt.respond(model, prompt, "name: Aro, food: tea", SHORT))
    figures = softprompt.evaluate(model, prompt, softprompt_examples(pairs), sampling=SHORT)
    assert "".join(pieces)
    assert figures["perplexity"] < figures["hard_prompt"]["perplexity"]
    assert 0 <= figures["bleu"] <= 100


def softprompt_examples(path: Path) -> list[Any]:
    from softprompt.data import read_examples

    return read_examples(path)


def test_the_best_step_is_kept_and_not_the_last(reviews: Path, tmp_path: Path) -> None:
    watcher = Recorder()
    tuned = softprompt.tune(
        tiny_model("llama"), data=reviews, validation=reviews, output=tmp_path / "p", steps=12, evaluate_every=2,
        learning_rate=0.5, watcher=watcher, **SMALL,
    )  # fmt: skip
    best = max(watcher.evaluations, key=lambda e: (e.metrics["accuracy"], -e.metrics["loss"]))
    assert tuned.best == {"step": best.step, **best.metrics}
    assert watcher.evaluations[-1].step == 12
    measured = softprompt.evaluate(tiny_model("llama"), SavedPrompt.read(tmp_path / "p"), softprompt_examples(reviews))
    assert measured["accuracy"] == best.metrics["accuracy"]
    assert measured["loss"] == pytest.approx(best.metrics["loss"], abs=1e-5)


def test_patience_ends_a_run_early(reviews: Path, tmp_path: Path) -> None:
    tuned = softprompt.tune(
        tiny_model("llama"), data=reviews, validation=reviews, output=tmp_path / "p", steps=400, evaluate_every=1,
        patience=3, learning_rate=1e-9, **SMALL,
    )  # fmt: skip
    assert tuned.steps < 40


def test_a_tenth_is_held_out_without_a_validation_file(write_jsonl: Write, tmp_path: Path) -> None:
    data = write_jsonl("data.jsonl", [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(60)])
    watcher = Recorder()
    softprompt.tune(tiny_model("llama"), data=data, output=tmp_path / "p", steps=2, watcher=watcher, **SMALL)
    assert watcher.evaluations


def test_too_few_to_hold_out_keeps_the_last_step(
    reviews: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tuned = softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", steps=2, **SMALL)
    assert tuned.best == {}
    assert "too few to hold some out" in caplog.text


def test_the_run_folder(reviews: Path, tmp_path: Path) -> None:
    softprompt.tune(tiny_model("llama"), data=reviews, validation=reviews, output=tmp_path / "p", steps=4, **SMALL)
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
    assert settings["settings"]["virtual_tokens"] == 3
    assert settings["learning_rate"] > 0


def test_a_stopped_run_goes_on_to_the_same_end(reviews: Path, tmp_path: Path) -> None:
    settings = {"data": reviews, "validation": reviews, "steps": 6, **SMALL}
    softprompt.tune(tiny_model("llama"), output=tmp_path / "whole", **settings)
    stopped = softprompt.tune(tiny_model("llama"), output=tmp_path / "parts", watcher=Recorder(stop_at=3), **settings)
    assert stopped.prompt is None
    assert stopped.steps == 3
    assert not (tmp_path / "parts").exists()
    softprompt.tune(tiny_model("llama"), output=tmp_path / "parts", resume=True, **settings)
    whole, parts = (SavedPrompt.read(tmp_path / name) for name in ("whole", "parts"))
    assert whole.manifest.content_hash == parts.manifest.content_hash


def test_resuming_with_other_data_is_refused(write_jsonl: Write, tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(20)]
    data = write_jsonl("data.jsonl", rows)
    softprompt.tune(tiny_model("llama"), data=data, output=tmp_path / "p", steps=2, **SMALL)
    write_jsonl("data.jsonl", rows[:-1])
    with pytest.raises(CheckpointError, match="other data"):
        softprompt.tune(tiny_model("llama"), data=data, output=tmp_path / "p", steps=2, resume=True, **SMALL)


def test_a_checkpoint_of_other_parameters_says_so(reviews: Path, tmp_path: Path) -> None:
    """As one that was written by a version whose prompts had other parameters."""
    softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", steps=2, **SMALL)
    path = tmp_path / "p.run" / "checkpoint.safetensors"
    progress, parameters, moments = read_checkpoint(path)
    write_checkpoint(path, progress, {f"old_{name}": each for name, each in parameters.items()}, moments)
    with pytest.raises(CheckpointError, match="holds other parameters .* `overwrite=True`"):
        softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", steps=2, resume=True, **SMALL)


def test_a_damaged_checkpoint_says_so(reviews: Path, tmp_path: Path) -> None:
    softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", steps=2, **SMALL)
    checkpoint = tmp_path / "p.run" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="is damaged"):
        softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", steps=2, resume=True, **SMALL)


def test_an_unfinished_run_is_not_thrown_away_silently(reviews: Path, tmp_path: Path) -> None:
    settings = {"data": reviews, "output": tmp_path / "p", "steps": 4, **SMALL}
    softprompt.tune(tiny_model("llama"), watcher=Recorder(stop_at=2), **settings)
    with pytest.raises(OutputExists, match="`resume=True`"):
        softprompt.tune(tiny_model("llama"), **settings)
    assert softprompt.tune(tiny_model("llama"), overwrite=True, **settings).steps == 4


@pytest.mark.parametrize("kept", [False, True])
def test_a_diverging_run_keeps_the_best_so_far(
    kept: bool, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from softprompt.tasks.classification import ClassificationObjective

    true_losses, calls = ClassificationObjective.losses, iter(range(100))

    def losses(self: Any, hidden: torch.Tensor, batch: Any) -> torch.Tensor:
        return true_losses(self, hidden, batch) * (float("nan") if next(calls) >= 5 else 1.0)

    monkeypatch.setattr(ClassificationObjective, "losses", losses)
    validation = {"validation": reviews} if kept else {}
    with pytest.raises(softprompt.SoftPromptError, match=r"step 6, learning rate .*`learning_rate=") as caught:
        softprompt.tune(
            tiny_model("llama"), data=reviews, output=tmp_path / "p", steps=9, evaluate_every=2, **validation, **SMALL
        )
    assert (tmp_path / "p").exists() == kept
    if kept:
        assert "the best prompt so far (step" in str(caught.value)
        assert SavedPrompt.read(tmp_path / "p").manifest.metrics["step"] in (2, 4)


def test_weights_of_passes_do_not_depend_on_how_rows_are_split(pairs: Path, tmp_path: Path) -> None:
    """A token counts the same in whichever pass it falls: accumulate 4 of 2 equals 1 of 8."""
    found = []
    for name, batch_size, accumulate in (("one", 8, 1), ("four", 2, 4)):
        softprompt.tune(
            tiny_model("llama"), data=pairs, output=tmp_path / name, steps=3, virtual_tokens=3,
            batch_size=batch_size, accumulate=accumulate,
        )  # fmt: skip
        found.append(SavedPrompt.read(tmp_path / name).payload.tensor)
    torch.testing.assert_close(*found, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"steps": 0}, SettingError, "`steps=0`"),
        ({"learning_rate": -1}, SettingError, "`learning_rate=-1`"),
        ({"unheard_of": 1}, SettingError, "unknown setting 'unheard_of'"),
        ({"virtual_tokens": 0}, SettingError, "0 virtual tokens: choose at least 1"),
        ({"virtual_tokens": 128}, SettingError, "fewer than 128"),
        ({"method": "magic"}, SettingError, "unknown method 'magic': one of prompt, residual, p-tun"),
        ({"init": "magic"}, SettingError, "unknown init 'magic'"),
        ({"encoder": "lstm"}, SettingError, "unknown encoder 'lstm': one of none, mlp"),
        ({"placement": "after-text"}, SettingError, "prefix cannot stand after-text"),
        ({"method": "prompt", "freeze_sink": True}, SettingError, "have a sink to freeze"),
        ({"template": "no field"}, TaskError, "names no field"),
        ({"template": "{txt}"}, TaskError, r"asks for \{txt\}, but .*reviews.jsonl:1 has the fields text, label"),
        ({"labels": ["good", "fine"]}, TaskError, "no example has the label fine"),
        ({"labels": ["good"]}, TaskError, "at least two"),
        ({"task": "generation", "template": "{text}", "labels": ["good", "bad"]}, TaskError, "for a class"),
        ({"label_field": "stars", "task": "classification"}, RowError, "no field 'stars'"),
        ({"task": "generation", "head": "linear", "response_field": "text", "template": "{text}"}, SettingError, "one"),
    ],
)  # fmt: skip
def test_bad_settings(
    settings: dict[str, Any], error: type[Exception], message: str, reviews: Path, tmp_path: Path
) -> None:
    arguments = {"data": reviews, "output": tmp_path / "p", "steps": 2, **SMALL, **settings}
    with pytest.raises(error, match=message):
        softprompt.tune(tiny_model("llama"), **arguments)
    assert not (tmp_path / "p").exists()
    assert not (tmp_path / "p.run").exists()


def test_a_frozen_sink_stays(reviews: Path, tmp_path: Path) -> None:
    model = tiny_model("llama")
    for name, freeze in (("free", False), ("frozen", True)):
        softprompt.tune(
            model,
            data=reviews,
            output=tmp_path / name,
            steps=3,
            freeze_sink=freeze,
            learning_rate=0.1,
            init="text:the film was great",
            **SMALL,
        )
    with torch.no_grad():
        from softprompt.model import Embeddings

        words = model.embed(torch.tensor([model.tokenize("the film was great")[:3]]))[0]
        start = model.compile(Embeddings(words)).tensor
    free, frozen = (SavedPrompt.read(tmp_path / name).payload.tensor for name in ("free", "frozen"))
    assert torch.equal(frozen[:, 0, :, 0], start[:, 0, :, 0])
    assert not torch.equal(free[:, 0, :, 0], start[:, 0, :, 0])
    assert not torch.equal(frozen[:, 1, :, 0], start[:, 1, :, 0])
    trained = SavedPrompt.read(tmp_path / "frozen").manifest.trained_parameters
    assert trained == frozen.numel() - frozen[:, 0, :, 0].numel()
