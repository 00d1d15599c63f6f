"""Runs of a distillation: which prefix is kept, and what a run does without steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt
from softprompt.distillation import DistillResult
from softprompt.distillation.initial_prefix import PrefixInitContext, take_last_tokens
from softprompt.distillation.label_distillation import LabelDistillationObjective
from softprompt.distillation.response_distillation import ResponseDistillationObjective
from softprompt.errors import CheckpointError, SettingError, TrainingDiverged
from softprompt.model import CausalModel
from softprompt.saved import SavedPrompt
from softprompt.tasks import Batch
from tests.distillation.targets import TEXT, build_context
from tests.tiny import shared_model, tiny_model

Distil = Callable[..., DistillResult]


@pytest.fixture
def distil(reviews: Path, tmp_path: Path) -> Distil:
    """Function that distils a text into four virtual tokens."""
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")

    def call(family: str = "llama", **settings: Any) -> DistillResult:
        defaults = {
            "num_virtual_tokens": 4,
            "max_steps": 3,
            "max_new_tokens": 4,
            "eval_steps": 1,
            "batch_size": 8,
            "init": "last-tokens",
        }
        return softprompt.distil(
            shared_model(family),
            context=tmp_path / "text.txt",
            output=tmp_path / "p",
            force=True,  # a random model is at chance
            **{**defaults, "data": reviews, "validation": reviews, **settings},
        )

    return call


@pytest.mark.parametrize("labels", [("good", "bad"), None])
def test_training_improves_on_the_initial_prefix(distil: Distil, labels: tuple[str, str] | None) -> None:
    result = distil(labels=labels, max_steps=12)
    assert result.metrics["kl"] < result.initial_metrics["kl"]
    assert result.metrics["recovery"] > result.initial_metrics["recovery"]


def test_no_steps_keep_the_initial_prefix(distil: Distil) -> None:
    result = distil(max_steps=0)
    assert (result.steps, result.best_step) == (0, 0)
    assert result.metrics == result.initial_metrics != {}
    assert result.prompt is not None
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    context = build_context(model, TEXT + "\n\n")
    torch.testing.assert_close(
        result.prompt.payload.tensor, take_last_tokens(PrefixInitContext(model, context, (), 4, 0)).tensor
    )


def test_the_initial_prefix_is_kept_if_training_makes_it_worse(
    distil: Distil, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = ResponseDistillationObjective.selection_key

    def prefer_less(self: ResponseDistillationObjective, metrics: Mapping[str, float]) -> tuple[float, ...]:
        return tuple(-value for value in key(self, metrics))

    monkeypatch.setattr(ResponseDistillationObjective, "selection_key", prefer_less)
    untrained = distil(max_steps=0)
    result = distil(overwrite=True)
    assert result.best_step == 0
    assert result.metrics == result.initial_metrics
    assert "no step is better than the initial prefix, which is kept" in caplog.text
    assert result.prompt is not None
    assert untrained.prompt is not None
    assert torch.equal(result.prompt.payload.tensor, untrained.prompt.payload.tensor)


def test_without_validation_inputs_the_last_step_is_kept_and_not_measured(distil: Distil) -> None:
    result = distil(validation=None)
    assert (result.steps, result.best_step, result.metrics, result.initial_metrics) == (3, None, {}, {})


def test_a_tenth_of_many_inputs_is_held_out(
    distil: Distil, write_jsonl: Callable[[str, Sequence[Any]], Path], caplog: pytest.LogCaptureFixture
) -> None:
    data = write_jsonl("many.jsonl", [{"input": f"film {i}"} for i in range(200)])
    with caplog.at_level("INFO", logger="softprompt"):
        result = distil(data=data, validation=None, max_steps=1)
    assert "20 of 200 inputs are held out" in caplog.text
    assert result.metrics


@pytest.mark.parametrize("eval_steps", [1, 9])
def test_a_nan_loss_saves_the_best_prefix_so_far(
    distil: Distil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eval_steps: int
) -> None:
    losses, calls = LabelDistillationObjective.compute_losses, [0]

    def diverging(self: LabelDistillationObjective, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        calls[0] += 1
        return losses(self, hidden, batch) * (math.nan if calls[0] > 6 else 1)

    monkeypatch.setattr(LabelDistillationObjective, "compute_losses", diverging)
    with pytest.raises(TrainingDiverged, match="not a number at step"):
        distil(labels=("good", "bad"), max_steps=9, eval_steps=eval_steps)
    assert SavedPrompt.from_folder(tmp_path / "p").payload.tensor.isfinite().all()


def test_a_recovery_of_one_needs_the_whole_text(distil: Distil) -> None:
    """All tokens but one, which start as the text's own, are nearly the text itself."""
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    size = build_context(model, TEXT + "\n\n").num_tokens
    nearly, few = (distil(max_steps=0, num_virtual_tokens=P, overwrite=True) for P in (size - 1, 2))
    assert nearly.metrics["recovery"] > few.metrics["recovery"]


def test_as_many_virtual_tokens_as_the_text_has_are_rejected(distil: Distil) -> None:
    model = shared_model("llama")
    assert isinstance(model, CausalModel)
    size = build_context(model, TEXT + "\n\n").num_tokens
    with pytest.raises(SettingError, match=f"and the text has {size} tokens: choose fewer, or `all`"):
        distil(num_virtual_tokens=size)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("labels", [("good", "bad"), None])
def test_one_virtual_token_is_distilled(
    distil: Distil, family: str, labels: tuple[str, str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Without BOS it is the attention sink, which is not trained."""
    result = distil(family, num_virtual_tokens=1, labels=labels)
    assert result.prompt is not None
    assert result.prompt.payload.tensor.isfinite().all()
    assert ("attention sink, which is not trained" in caplog.text) == (family == "qwen2")


@pytest.mark.parametrize(("family", "init"), [("llama", "attention-matching"), ("bloom", "last-tokens")])
def test_the_manifest_names_the_initial_prefix_that_was_chosen(distil: Distil, family: str, init: str) -> None:
    result = distil(family, init=None, max_steps=0)
    assert result.prompt is not None
    assert result.prompt.manifest.method["init"] == init


# Documents: the model writes the inputs, or there are none


@pytest.fixture
def distil_document(tmp_path: Path) -> Distil:
    """Function that distils a document into four virtual tokens."""
    (tmp_path / "document.md").write_text(f"{TEXT}.\n\nThe plot is lovely and the ending is awful.", "utf-8")

    def call(**settings: Any) -> DistillResult:
        defaults = {"num_virtual_tokens": 4, "max_steps": 2, "max_new_tokens": 4, "num_questions": 8}
        return softprompt.distil(
            shared_model("llama"),
            document=tmp_path / "document.md",
            output=tmp_path / "p",
            **{**defaults, **settings},
        )

    return call


@pytest.mark.parametrize("max_steps", [0, 2])
def test_max_eval_samples_limits_the_validation_inputs_of_a_document(
    distil_document: Distil, reviews: Path, max_steps: int
) -> None:
    result = distil_document(validation=reviews, max_eval_samples=3, max_steps=max_steps)
    assert result.report is not None
    assert result.report.num_validation_inputs == 3


@pytest.mark.parametrize("max_steps", [0, 2])
def test_a_document_is_not_resumed_with_other_validation_inputs(
    distil_document: Distil, write_jsonl: Callable[[str, Sequence[Any]], Path], max_steps: int
) -> None:
    validation = write_jsonl("validation.jsonl", [{"input": f"film {i}"} for i in range(4)])
    distil_document(validation=validation, max_steps=max_steps)
    write_jsonl("validation.jsonl", [{"input": f"food {i}"} for i in range(4)])
    with pytest.raises(CheckpointError, match="began with other data: validation"):
        distil_document(validation=validation, max_steps=max_steps, resume=True)


@pytest.mark.parametrize("name", ["input", "question", "text"])
def test_questions_about_a_document_have_any_usual_name(
    distil_document: Distil, write_jsonl: Callable[[str, Sequence[Any]], Path], name: str
) -> None:
    questions = write_jsonl("questions.jsonl", [{name: f"film {i}"} for i in range(4)])
    answered = write_jsonl("answered.jsonl", [{name: f"food {i}", "answer": "awful"} for i in range(4)])
    result = distil_document(questions=questions, validation=answered)
    assert result.report is not None
    assert result.report.num_answered_inputs == 4


@pytest.mark.parametrize("labels", [("good", "bad"), None])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_gradient_checkpointing_gives_the_same_prefix(
    reviews: Path, tmp_path: Path, labels: tuple[str, str] | None, family: str
) -> None:
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    found = []
    for gradient_checkpointing in (False, True):
        prompt = softprompt.distil(
            tiny_model(family),
            context=tmp_path / "text.txt",
            data=reviews,
            output=tmp_path / f"p{gradient_checkpointing}",
            num_virtual_tokens=4,
            max_steps=3,
            max_new_tokens=4,
            labels=labels,
            force=True,
            gradient_checkpointing=gradient_checkpointing,
        ).prompt
        assert prompt is not None
        found.append(prompt.payload.tensor)
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)
