"""Embeddings of a prompt and a text: run in place of tokens, they give the prompt's logits."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from softprompt.errors import BaseModelMismatch, PeftExportError, SettingError, SoftPromptError, TaskError
from softprompt.model import FrozenModel, Payload, Placement, PromptEmbeddings
from softprompt.saved import SavedPrompt
from softprompt.saved.prompt_embeds import build_prompt_embeds
from softprompt.tasks import ChatTask, ClassificationTask, GenerationTask, Task
from softprompt.tasks.collation import apply_payload
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import shared_model, tiny_model

TEXT = "the film was great fun"
WRITES = GenerationTask(template="Review: {input}\nAnswer:")
MARKED = GenerationTask(template="[P1] {input} [P2][P3] so")


def made(model: FrozenModel, payload: Payload, task: Task = WRITES) -> SavedPrompt:
    return SavedPrompt.from_payload(model, payload, task, method={"name": "prompt"}, trained_parameters=1)


@torch.no_grad()
def own(model: FrozenModel, prompt: SavedPrompt) -> Tensor:
    """Compute the logits of the response's first token with the prompt itself."""
    payload = prompt.compile_for(model)
    objective = prompt.build_objective(model, payload)
    assert isinstance(objective, LanguageModelingObjective)
    ids = torch.tensor([apply_payload(objective.encode_prompt(objective.build_example(TEXT), 8), payload)[0]])
    return model.compute_logits(model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool), payload))[
        0, -1
    ]


@torch.no_grad()
def theirs(model: FrozenModel, embeddings: Tensor) -> Tensor:
    """Compute the logits with transformers from the embeddings alone."""
    logits: Tensor = model.network(inputs_embeds=embeddings.unsqueeze(0)).logits
    return logits[0, -1]


@pytest.mark.parametrize(
    ("family", "placement", "task"),
    [
        ("llama", Placement.BEFORE, WRITES),  # with a BOS
        ("llama", Placement.AFTER_BOS, WRITES),
        ("llama", Placement.AFTER_TEXT, WRITES),
        ("llama", Placement.IN_TEMPLATE, MARKED),
        ("gemma2", Placement.BEFORE, WRITES),  # scales words
        ("bloom", Placement.AFTER_TEXT, WRITES),  # normalises them
    ],
)
def test_the_embeddings_of_a_text_and_its_prompt_give_the_prompts_logits(
    family: str, placement: Placement, task: Task
) -> None:
    model = shared_model(family)
    prompt = made(model, random_embeddings(model, 3, 0, placement), task)
    found = build_prompt_embeds(prompt, model, TEXT, 8)
    assert found.shape[1] == model.shape.hidden_size
    assert found.dtype == model.dtype
    torch.testing.assert_close(theirs(model, found), own(model, prompt), atol=1e-4, rtol=0)


def test_virtual_tokens_are_inserted_at_the_prompts_placement() -> None:
    model = shared_model("llama")
    payload = random_embeddings(model, 3, 0)
    for placement, at in ((Placement.BEFORE, 0), (Placement.AFTER_BOS, 1), (Placement.AFTER_TEXT, -3)):
        moved = PromptEmbeddings(payload.tensor, placement)
        found = build_prompt_embeds(made(model, moved), model, TEXT, 8)
        assert torch.equal(found[at : at + 3 or None], payload.tensor)
        assert len(found) == 3 + 1 + len(model.prompt_tokenizer.tokenize(f"Review: {TEXT}\nAnswer:"))


def test_a_long_text_is_truncated_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    model = shared_model("llama")
    with caplog.at_level(logging.WARNING):
        found = build_prompt_embeds(made(model, random_embeddings(model, 3, 0)), model, "fun " * 200, 20)
    assert len(found) + 20 == model.shape.window
    assert "truncated" in caplog.text


@pytest.mark.parametrize(
    ("family", "payload", "task", "tokens", "error", "words"),
    [
        ("llama", "prefix", WRITES, 8, PeftExportError, "is a KV prefix"),
        ("llama", "embeddings", ClassificationTask(labels=("a", "b")), 8, TaskError, "softprompt classify"),
        ("llama", "embeddings", WRITES, 500, SettingError, "`max_new_tokens=500`"),
        ("t5", "embeddings", WRITES, 8, PeftExportError, "causal"),
    ],
)
def test_prompts_that_embeddings_cannot_express_are_rejected(
    family: str, payload: str, task: Task, tokens: int, error: type[SoftPromptError], words: str
) -> None:
    model = shared_model(family)
    kept = random_prefix(model, 3, 0) if payload == "prefix" else random_embeddings(model, 3, 0)
    with pytest.raises(error, match=words):
        build_prompt_embeds(made(model, kept, task), model, TEXT, tokens)


def test_another_base_model_is_rejected() -> None:
    model = shared_model("llama")
    with pytest.raises(BaseModelMismatch):
        build_prompt_embeds(made(model, random_embeddings(model, 3, 0)), tiny_model("llama", 7), TEXT, 8)


def test_the_text_is_inserted_into_the_chat_template() -> None:
    model = tiny_model("llama")
    model.tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    prompt = made(model, random_embeddings(model, 3, 0), ChatTask())
    torch.testing.assert_close(
        theirs(model, build_prompt_embeds(prompt, model, TEXT, 8)), own(model, prompt), atol=1e-4, rtol=0
    )
