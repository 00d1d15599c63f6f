"""Other uses of a model in scripts: generation during evaluation, pipelines, noise on embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, pipeline

from softprompt.hf_model import SoftPromptModel
from softprompt.prompts import PromptOptions
from tests.tiny import tiny_model

TEXTS = ["the film was great", "a bore", "its plot was awful", "lovely scene", "good fun", "bad ending"]


@pytest.fixture
def model() -> SoftPromptModel:
    return SoftPromptModel.from_model(tiny_model("llama"), PromptOptions("prompt", 4))


def trainer(model: SoftPromptModel, folder: Path, **more: Any) -> Seq2SeqTrainer:
    tokenizer = model.tokenizer
    rows = [{"input_ids": (ids := [*tokenizer(text).input_ids, 1]), "labels": ids} for text in TEXTS]
    settings = Seq2SeqTrainingArguments(
        str(folder),
        max_steps=4,
        per_device_eval_batch_size=2,
        learning_rate=0.02,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        **more,
    )
    return Seq2SeqTrainer(
        model,
        settings,
        data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=tokenizer,
        compute_metrics=lambda predicted: {"columns": predicted.predictions.shape[1]},
    )


@pytest.mark.parametrize("more", [{}, {"generation_num_beams": 2}])
def test_the_trainer_predicts_with_generate(model: SoftPromptModel, more: dict[str, int], tmp_path: Path) -> None:
    run = trainer(model, tmp_path, predict_with_generate=True, generation_max_length=20, **more)
    run.train()
    assert run.evaluate()["eval_columns"] == 20
    predicted = run.predict(run.eval_dataset, max_new_tokens=5)
    for row, found in zip(run.eval_dataset, predicted.predictions.tolist(), strict=True):
        alone = model.generate(torch.tensor([row["input_ids"]]), max_new_tokens=5, num_beams=1 + len(more))
        assert without_filling(found) == without_filling(alone[0].tolist())


def without_filling(ids: list[int]) -> list[int]:
    """Ids without padding, and without the end token that fills up what has ended."""
    return [token for token in ids if token not in (1, 2, -100)]


def test_neftune_noise_is_added_to_embeddings_during_training_only(model: SoftPromptModel, tmp_path: Path) -> None:
    """NEFTune (Jain et al. 2023), by `neftune_noise_alpha` of the trainer's arguments."""
    ids = torch.tensor([[5, 9, 77]])
    run = trainer(model, tmp_path, neftune_noise_alpha=8.0)
    quiet = model.eval()(ids).logits
    noisy: list[bool] = []
    run.compute_loss = _watched(run.compute_loss, model, ids, quiet, noisy)  # type: ignore[method-assign]
    run.train()
    assert noisy == [True] * 4
    assert not hasattr(model.get_input_embeddings(), "neftune_noise_alpha")
    run.model.train()
    torch.testing.assert_close(model(ids).logits, model.eval()(ids).logits)


def _watched(inner: Any, model: SoftPromptModel, ids: torch.Tensor, quiet: torch.Tensor, noisy: list[bool]) -> Any:
    def compute(*arguments: Any, **more: Any) -> Any:
        with torch.no_grad():
            noisy.append(bool((model(ids).logits - quiet).abs().max() > 1e-2))
        return inner(*arguments, **more)

    return compute


def test_input_embeddings_equal_those_of_the_base_model_and_are_not_parameters(model: SoftPromptModel) -> None:
    embeddings = model.get_input_embeddings()
    assert torch.equal(embeddings.weight, model.frozen_model.network.get_input_embeddings().weight)
    assert not list(embeddings.parameters())
    assert list(model.state_dict()) == ["prompt.embeddings"]


@torch.no_grad()
def test_a_pipeline_generates_the_same_text_as_generate(model: SoftPromptModel) -> None:
    next(model.parameters()).normal_()
    tokenizer = model.tokenizer
    writing = pipeline("text-generation", model=model, tokenizer=tokenizer)
    asked: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "return_full_text": False}
    alone = []
    for text in TEXTS[:3]:
        ids = torch.tensor([tokenizer(text).input_ids])
        response = model.generate(ids, max_new_tokens=6)[0, ids.shape[1] :]
        alone.append(tokenizer.decode(response, skip_special_tokens=True))
    assert [writing(text, **asked)[0]["generated_text"] for text in TEXTS[:3]] == alone
    assert [found[0]["generated_text"] for found in writing(TEXTS[:3], batch_size=3, **asked)] == alone


@torch.no_grad()
def test_forward_accepts_embeddings_and_returns_only_the_last_logits_if_requested(model: SoftPromptModel) -> None:
    ids = torch.tensor([[5, 9, 77]])
    whole = model(ids).logits
    embedded = model(inputs_embeds=model.get_input_embeddings()(ids)).logits
    torch.testing.assert_close(embedded, whole)
    torch.testing.assert_close(model(ids, logits_to_keep=1).logits, whole[:, -1:])
    with pytest.raises(Exception, match="exactly one of"):
        model()
