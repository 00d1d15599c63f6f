"""`SoftPromptModel` in Hugging Face's Trainer, and its own methods."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

import softprompt
from softprompt.hf_model import SoftPromptModel
from softprompt.model import Placement
from softprompt.prompts import PromptOptions
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask
from tests.strategies import random_prefix
from tests.tiny import shared_model, tiny_model, tiny_tokenizer

TEXTS = ["the film was great", "a bore", "its plot was awful", "lovely scene", "good fun", "bad ending"] * 4


def rows() -> list[dict[str, list[int]]]:
    tokenizer = tiny_tokenizer()
    return [{"input_ids": (ids := tokenizer(text).input_ids), "labels": ids} for text in TEXTS]


def trainer(model: SoftPromptModel, folder: Path, **arguments: object) -> Trainer:
    settings = TrainingArguments(
        str(folder),
        per_device_train_batch_size=4,
        learning_rate=0.02,
        report_to=[],
        use_cpu=True,
        logging_steps=1,
        disable_tqdm=True,
        **arguments,
    )
    collator = DataCollatorForSeq2Seq(tiny_tokenizer(), padding=True)  # an ordinary collator, unchanged
    return Trainer(model, settings, data_collator=collator, train_dataset=rows())


@pytest.mark.parametrize("arguments", [{}, {"gradient_accumulation_steps": 2}, {"activation_checkpointing": True}])
@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_training_with_the_transformers_trainer_lowers_the_loss(
    method: str, arguments: dict[str, object], tmp_path: Path
) -> None:
    model = SoftPromptModel.from_model(tiny_model("llama"), PromptOptions(method, 4))
    run = trainer(model, tmp_path, max_steps=12, save_strategy="no", **arguments)
    run.train()
    losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] - 0.2


def test_a_trainer_checkpoint_contains_only_the_prompt_and_can_be_resumed(tmp_path: Path) -> None:
    model = SoftPromptModel.from_model(tiny_model("llama"), PromptOptions("prompt", 4))
    trainer(model, tmp_path, max_steps=4, save_steps=2).train()
    assert (tmp_path / "checkpoint-2" / "model.safetensors").stat().st_size < 10_000
    again = SoftPromptModel.from_model(tiny_model("llama"), PromptOptions("prompt", 4))
    trainer(again, tmp_path, max_steps=4, save_steps=2).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_save_pretrained_writes_a_saved_prompt(tmp_path: Path) -> None:
    model = SoftPromptModel.from_model(tiny_model("llama"), PromptOptions("prefix", 3))
    model.save_pretrained(tmp_path / "p")
    saved = SavedPrompt.from_folder(tmp_path / "p")
    assert saved.manifest.method["name"] == "prefix"
    assert torch.equal(saved.payload.tensor, model.prompt().tensor)


def test_only_the_prompt_has_parameters() -> None:
    model = SoftPromptModel.from_model(shared_model("llama"), PromptOptions("prompt", 4))
    assert [p.shape for p in model.parameters()] == [(4, 24)]
    assert list(model.state_dict()) == ["prompt.embeddings"]


@torch.no_grad()
def test_disabling_the_prompt_gives_exactly_the_logits_of_the_base_model() -> None:
    model = SoftPromptModel.from_model(shared_model("gpt2"), PromptOptions("prefix", 4))
    ids = torch.tensor([[5, 9, 77]])
    bare = model.frozen_model.network(ids).logits
    with model.disable_prompt():
        assert torch.equal(model(ids).logits, bare)
    assert (model(ids).logits - bare).abs().max() > 1e-2


def loaded() -> SoftPromptModel:
    frozen = shared_model("llama")
    model = SoftPromptModel(frozen)
    task = ClassificationTask(labels=("a", "b"))
    for i, name in enumerate(("one", "two")):
        saved = SavedPrompt.from_payload(
            frozen, random_prefix(frozen, 3, i), task, method={"name": "x"}, trained_parameters=1
        )
        model.add_prompt(name, saved)
    return model


@torch.no_grad()
def test_several_prompts_can_be_loaded_switched_and_removed() -> None:
    model = loaded()
    ids = torch.tensor([[5, 9, 77]])
    assert model.active_prompt == "two"
    two = model(ids).logits
    model.active_prompt = "one"
    assert (model(ids).logits - two).abs().max() > 1e-2
    model.remove_prompt("one")
    assert model.active_prompt is None
    assert torch.equal(model(ids).logits, model.frozen_model.network(ids).logits)


def test_a_prompt_that_is_not_loaded_is_rejected_by_name() -> None:
    with pytest.raises(softprompt.SoftPromptError, match=r"prompt 'three' is not loaded \(loaded: one, two\)"):
        loaded()(torch.tensor([[5]]), prompts=["three"])


def test_an_unsupported_placement_is_rejected() -> None:
    with pytest.raises(softprompt.SoftPromptError, match=r"use softprompt\.tune"):
        SoftPromptModel.from_model(shared_model("llama"), PromptOptions("prompt", 4, placement=Placement.AFTER_TEXT))


def test_a_prompt_for_several_tasks_is_rejected() -> None:
    with pytest.raises(softprompt.SoftPromptError, match="trains one task"):
        SoftPromptModel.from_model(shared_model("llama"), PromptOptions("multitask", 4, tasks=("films", "songs")))


def test_saving_without_a_prompt_in_training_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(softprompt.SoftPromptError, match="no prompt is being trained"):
        SoftPromptModel(shared_model("llama")).save_pretrained(tmp_path / "p")


@torch.no_grad()
def test_generate_equals_transformers_without_a_prompt() -> None:
    model = SoftPromptModel(shared_model("llama"))
    ids = torch.tensor([[5, 9, 77], [300, 12, 44]])
    mine = model.generate(ids, max_new_tokens=8)
    theirs = model.frozen_model.network.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=1, pad_token_id=1)
    assert mine.tolist() == theirs.tolist()


def test_a_prompt_of_nan_is_not_saved(tmp_path: Path) -> None:
    model = SoftPromptModel.from_model(shared_model("llama"), PromptOptions("prompt", 4))
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(softprompt.SoftPromptError, match="contains NaN"):
        model.save_pretrained(tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_a_wrong_number_of_prompts_is_rejected() -> None:
    with pytest.raises(softprompt.SoftPromptError, match="1 prompts for 2 sequences"):
        loaded()(torch.tensor([[5], [6]]), prompts=["one"])
