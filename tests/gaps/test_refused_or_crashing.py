"""Rows 10 to 12 of the table in docs/peft.md: what peft rejects or crashes on, one test each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import StaticCache

import softprompt
from softprompt.hf_model import SoftPromptModel
from softprompt.prompts import PromptOptions
from softprompt.saved import SavedPrompt
from softprompt.training.prompt_trainable import PromptTrainable
from tests.strategies import METHODS_OF_ONE_TASK, methods_starting_from, tuning
from tests.tiny import FAMILIES, shared_model, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("method", "encoder"), METHODS_OF_ONE_TASK)
def test_row_10_gradient_checkpointing_does_not_change_the_gradients(family: str, method: str, encoder: str) -> None:
    ids = torch.tensor([[5, 9, 77, 300], [31, 8, 4, 3]])
    gradients = []
    for checkpointed in (False, True):
        model = SoftPromptModel.from_model(
            tiny_model(family), PromptOptions(method, 3, encoder=encoder, head="verbalizer")
        )
        if checkpointed:
            model.gradient_checkpointing_enable()
        model(ids, labels=ids).loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    assert any(g is not None and g.abs().max() > 1e-4 for g in gradients[0])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("method", "encoder"), methods_starting_from("prompt"))
def test_row_11_training_continues_from_a_saved_prompt(
    method: str, encoder: str, reviews: Path, tmp_path: Path
) -> None:
    settings = {"data": reviews, "encoder": encoder, "batch_size": 4, **tuning(method, 3)}
    model = tiny_model("llama")
    softprompt.tune(model, output=tmp_path / "first", max_steps=2, **settings)
    softprompt.tune(
        model,
        output=tmp_path / "second",
        max_steps=1,
        learning_rate=1e-12,
        init=f"prompt:{tmp_path / 'first'}",
        **settings,
    )
    first, second = (SavedPrompt.from_folder(tmp_path / name) for name in ("first", "second"))
    torch.testing.assert_close(first.payload.tensor, second.payload.tensor, atol=1e-6, rtol=0)
    assert (first.head is None) == (second.head is None)
    for name, tensor in (first.head or {}).items():
        torch.testing.assert_close(tensor, second.head[name], atol=1e-6, rtol=0)


def test_row_11_a_checkpoint_of_a_projected_prefix_contains_the_projection(reviews: Path, tmp_path: Path) -> None:
    """Law 7 kills the run at every step; this test checks that the checkpoint holds the projection."""
    settings = {"data": reviews, "method": "prefix", "encoder": "mlp", "num_virtual_tokens": 3, "batch_size": 4}
    softprompt.tune(tiny_model("llama"), output=tmp_path / "p", max_steps=3, **settings)
    from softprompt.training.checkpoint import read_checkpoint

    _, parameters, _ = read_checkpoint(tmp_path / "p.run" / "checkpoint.safetensors")
    assert parameters["encoder.2.weight"].abs().max() > 0


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_row_12_logits_are_the_same_without_a_cache(family: str) -> None:
    model = SoftPromptModel.from_model(shared_model(family), PromptOptions("prefix", 3))
    ids = torch.tensor([[5, 9, 77]])
    with_cache, without = (model(ids, use_cache=use).logits for use in (True, False))
    torch.testing.assert_close(with_cache, without, atol=1e-4, rtol=0)


def test_row_12_a_static_cache_is_rejected() -> None:
    model = SoftPromptModel.from_model(shared_model("llama"), PromptOptions("prefix", 3))
    cache = StaticCache(model.config, max_cache_len=16)
    with pytest.raises(softprompt.SoftPromptError, match="StaticCache, which does not contain the prompt"):
        model(torch.tensor([[5, 9, 77]]), past_key_values=cache)


def test_gradients_of_micro_batches_sum_to_the_gradient_of_the_whole_batch() -> None:
    from softprompt.prompts import build_prompt
    from softprompt.tasks import ClassificationTask, EncodedExample, LabelTarget

    model = shared_model("llama")
    objective = ClassificationTask(labels=("good", "bad")).build_objective(model, 100)
    rows = [EncodedExample([5, 9, 7 + i, 40][: 2 + i % 3], LabelTarget(i % 2)) for i in range(6)]
    found = []
    for batch_size in (6, 2):
        prompt, _ = build_prompt(PromptOptions("prompt", 3), model, "a film")
        loss, *_ = PromptTrainable(prompt).accumulate_gradients(objective, rows, batch_size)
        found.append((torch.tensor(loss), prompt.embeddings.grad))
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(whole, parts, atol=1e-6, rtol=1e-4)
