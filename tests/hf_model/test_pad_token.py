"""The end-of-text token at the end of a sequence is learned, whichever token the tokenizer pads with."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast, Trainer, TrainingArguments

import softprompt
from softprompt.hf_model import DataCollatorForCausalLM, SoftPromptModel
from softprompt.model import CausalModel, freeze_network
from softprompt.prompts import PromptOptions
from tests.tiny import BOS, EOS, _trained, shared_model, tiny_tokenizer

TEXTS = ("the film was great fun", "a bore", "its plot")


def tokenizer_with(
    pad: str | None, *others: str, unknown: str | None = None, template: str = ""
) -> PreTrainedTokenizerFast:
    """A tokenizer that ends texts with `</s>`, pads as is said, and has these special tokens besides."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_trained([BOS, EOS]),
        bos_token=BOS,
        eos_token=EOS,
        pad_token=pad,
        unk_token=unknown,
        extra_special_tokens=list(others),
    )
    tokenizer.chat_template = template or None
    return tokenizer


def wrapped(tokenizer: PreTrainedTokenizerFast) -> SoftPromptModel:
    model = freeze_network(shared_model("llama").network, tokenizer, "tiny")
    assert isinstance(model, CausalModel)
    return SoftPromptModel.from_model(model, PromptOptions("prompt", 2))


#: Which special tokens a tokenizer has, and what it pads with in the end.
TOKENIZERS: dict[str, tuple[PreTrainedTokenizerFast, str | None]] = {
    "its own": (tokenizer_with("<pad>"), "<pad>"),
    "the end, and one to spare": (tokenizer_with("</s>", "<file>", "<|endoftext|>", "<repo>"), "<|endoftext|>"),
    "the end, and one for the unknown": (tokenizer_with("</s>", "<file>", unknown="<unk>"), "<unk>"),
    "the end, and one made for it": (tokenizer_with("</s>", "<unk>", "<|fim_pad|>", "<file>"), "<|fim_pad|>"),
    "none, and one to spare": (tokenizer_with(None, "<file>"), "<file>"),
    "the end, and one that the chat template writes": (tokenizer_with("</s>", "<|im|>", template="<|im|>"), "</s>"),
    "the end alone": (tokenizer_with("</s>"), "</s>"),
    "none at all": (tokenizer_with(None), None),
}


def is_at_risk(name: str) -> bool:
    return TOKENIZERS[name][1] in (None, "</s>")


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_pad_token_other_than_eos_is_chosen_if_the_tokenizer_has_one(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer, expected = TOKENIZERS[name]
    with caplog.at_level(logging.WARNING, "softprompt"):
        model = wrapped(copy.deepcopy(tokenizer))
    assert model.tokenizer.pad_token == expected
    assert ("DataCollatorForCausalLM" in caplog.text) is is_at_risk(name)


def labels_of(collator: Any, rows: list[Any]) -> list[list[int]]:
    batch = collator([dict(row) for row in rows])
    return [labels[labels != -100].tolist() for labels in batch["labels"]]


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if not is_at_risk(name)])
def test_transformers_collator_keeps_eos_labels_if_the_pad_token_is_not_eos(name: str) -> None:
    tokenizer = wrapped(copy.deepcopy(TOKENIZERS[name][0])).tokenizer
    rows = [tokenizer(text + tokenizer.eos_token) for text in TEXTS]
    assert labels_of(DataCollatorForLanguageModeling(tokenizer, mlm=False), rows) == [row.input_ids for row in rows]
    assert all(row.input_ids[-1] == 1 for row in rows)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_data_collator_for_causal_lm_keeps_eos_labels_with_any_tokenizer(name: str) -> None:
    tokenizer = TOKENIZERS[name][0]
    rows = [tokenizer(text + tokenizer.eos_token) for text in TEXTS]
    batch = DataCollatorForCausalLM(tokenizer)([dict(row) for row in rows])
    assert labels_of(DataCollatorForCausalLM(tokenizer), rows) == [row.input_ids for row in rows]
    assert batch["attention_mask"].sum(dim=1).tolist() == [len(row.input_ids) for row in rows]
    assert torch.equal(batch["labels"] == -100, batch["attention_mask"] == 0)


def test_data_collator_for_causal_lm_keeps_existing_labels_and_masks() -> None:
    rows = [{"input_ids": [5, 6, 1], "labels": [-100, 6, 1], "attention_mask": [0, 1, 1]}, {"input_ids": [7]}]
    batch = DataCollatorForCausalLM(tiny_tokenizer())(rows)
    assert batch["labels"].tolist() == [[-100, 6, 1], [7, -100, -100]]
    assert batch["attention_mask"].tolist() == [[0, 1, 1], [1, 0, 0]]
    assert batch["input_ids"].tolist() == [[5, 6, 1], [7, 2, 2]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a"}, "feature 2 of the batch has no `input_ids` \\(keys: text\\)"),
        ({"input_ids": [1, 2], "labels": [1]}, "feature 2 of the batch has 2 `input_ids` but 1 `labels`"),
    ],
)
def test_invalid_features_are_rejected(row: dict[str, Any], message: str) -> None:
    with pytest.raises(softprompt.SoftPromptError, match=message):
        DataCollatorForCausalLM(tiny_tokenizer())([{"input_ids": [5]}, row])


@pytest.mark.parametrize("collator", [DataCollatorForCausalLM, DataCollatorForLanguageModeling])
def test_training_with_either_collator_increases_the_probability_of_eos(collator: Any, tmp_path: Path) -> None:
    """As in the README: training on texts that end with EOS teaches the model to end after them."""
    model = wrapped(tokenizer_with("</s>", "<|endoftext|>"))
    tokenizer = model.tokenizer
    rows = [tokenizer(text + tokenizer.eos_token) for text in TEXTS] * 8
    arguments = TrainingArguments(
        str(tmp_path), num_train_epochs=6, learning_rate=0.05, report_to="none", use_cpu=True, save_strategy="no"
    )
    made = collator(tokenizer) if collator is DataCollatorForCausalLM else collator(tokenizer, mlm=False)
    ids = torch.tensor([tokenizer(TEXTS[0]).input_ids])

    def probability_of_the_end() -> float:
        with torch.no_grad():
            return float(model(ids).logits[0, -1].softmax(dim=-1)[1])

    before = probability_of_the_end()
    Trainer(model, arguments, made, rows).train()
    assert probability_of_the_end() > 2 * before
