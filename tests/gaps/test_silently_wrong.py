"""Rows 1 to 6 of the table in docs/peft.md: wrong results of peft without an error, one test each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import DynamicCache

import softprompt
from softprompt.hf_model import SoftPromptModel
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, EncodedExample
from softprompt.training.checkpoint import read_checkpoint
from tests.strategies import METHODS_OF_ONE_TASK, laid_out, random_embeddings, random_prefix
from tests.tiny import FAMILIES, shared_model, tiny_model

each_family = pytest.mark.parametrize("family", FAMILIES)
each_method = pytest.mark.parametrize(("method", "encoder"), METHODS_OF_ONE_TASK)
LONG, SHORT = [5, 9, 77, 300, 12, 44], [31, 8]


def wrapped(family: str, method: str = "prefix", encoder: str | None = None, P: int = 4) -> SoftPromptModel:
    """Make a tiny model with a prompt that differs from its initial value."""
    torch.manual_seed(0)
    model = SoftPromptModel.from_model(
        shared_model(family), PromptOptions(method, P, encoder=encoder, head="verbalizer")
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@each_family
@each_method
@torch.no_grad()
def test_row_1_logits_do_not_depend_on_left_padding(family: str, method: str, encoder: str) -> None:
    model = wrapped(family, method, encoder)
    ids, mask = laid_out([LONG, SHORT], "left")
    together = model(ids, attention_mask=mask.long()).logits[1, -len(SHORT) :]
    alone = model(torch.tensor([SHORT])).logits[0]
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@each_family
def test_row_1_generated_tokens_do_not_depend_on_padding(family: str) -> None:
    model = wrapped(family)
    alone = model.generate(torch.tensor([SHORT]), max_new_tokens=6)[0, len(SHORT) :].tolist()
    for side in ("left", "right"):
        ids, mask = laid_out([LONG, SHORT], side)
        together = model.generate(ids, mask.long(), max_new_tokens=6)[1, ids.shape[1] :].tolist()
        assert together[: len(alone)] == alone


@each_family
@torch.no_grad()
def test_row_2_a_head_reads_the_last_real_token(family: str) -> None:
    model = shared_model(family)
    task = ClassificationTask(labels=("a", "b", "c"))
    prompt, _ = build_prompt(PromptOptions("p-tuning-v2", 3), model, "a film", task.labels)
    assert prompt.head is not None
    torch.manual_seed(0)
    prompt.head.weight.normal_()
    payload = model.compile_payload(prompt())
    objective = task.build_objective(model, 100, prompt.head)
    rows = [EncodedExample(LONG), EncodedExample(SHORT)]
    batch = objective.collate(rows, payload)
    together = objective.compute_log_probs(objective.forward_batch(batch, payload), batch)
    for row, found in zip(rows, together, strict=True):
        ids = torch.tensor([row.prompt_ids])
        last = model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool), payload)[:, -1:]
        torch.testing.assert_close(found, prompt.head.compute_log_probs(model, last)[0], atol=1e-4, rtol=0)


@each_family
@each_method
@torch.no_grad()
def test_row_3_logits_and_loss_align_with_the_text(family: str, method: str, encoder: str) -> None:
    ids = torch.tensor([LONG])
    out = wrapped(family, method, encoder)(ids, labels=ids)
    assert out.logits.shape == (1, len(LONG), shared_model(family).shape.vocab_size)
    expected = torch.nn.functional.cross_entropy(out.logits[0, :-1], ids[0, 1:])
    torch.testing.assert_close(out.loss, expected)


@each_family
@torch.no_grad()
def test_row_4_every_sequence_of_a_batch_may_have_another_prompt(family: str, tmp_path: Path) -> None:
    frozen = shared_model(family)
    model = SoftPromptModel(frozen)
    task = ClassificationTask(labels=("a", "b"))
    for name, payload in {"one": random_prefix(frozen, 3, 1), "two": random_embeddings(frozen, 5, 2)}.items():
        model.add_prompt(
            name, SavedPrompt.from_payload(frozen, payload, task, method={"name": name}, trained_parameters=1)
        )
    ids = torch.tensor([LONG, LONG, LONG])
    names = ["one", None, "two"]
    together = model(ids, prompts=names).logits
    for row, name in enumerate(names):
        alone = model(ids[:1], prompts=[name]).logits[0]
        torch.testing.assert_close(together[row], alone, atol=1e-4, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-2
    written = model.generate(ids, prompts=names, max_new_tokens=5)
    for row, name in enumerate(names):
        alone = model.generate(ids[:1], prompts=[name], max_new_tokens=5)[0]
        assert written[row, : len(alone)].tolist() == alone.tolist()


@pytest.mark.parametrize("encoder", ["mlp", "lstm"])
def test_row_5_a_checkpoint_contains_the_encoder_and_its_optimizer_state(
    encoder: str, reviews: Path, tmp_path: Path
) -> None:
    settings = {"method": "p-tuning", "encoder": encoder, "num_virtual_tokens": 3, "batch_size": 4, "save_steps": 2}
    softprompt.tune(tiny_model("llama"), data=reviews, output=tmp_path / "p", max_steps=4, **settings)
    lines = (tmp_path / "p.run" / "metrics.jsonl").read_text().splitlines()
    progress, parameters, moments = read_checkpoint(tmp_path / "p.run" / "checkpoint.safetensors")
    assert progress.step == 4
    assert any(name.startswith("encoder.") and tensor.abs().sum() > 0 for name, tensor in parameters.items())
    assert moments
    resumed = softprompt.tune(
        tiny_model("llama"), data=reviews, output=tmp_path / "p", max_steps=4, resume=True, **settings
    )
    assert resumed.steps == 4
    assert (tmp_path / "p.run" / "metrics.jsonl").read_text().splitlines() == lines


@each_family
@each_method
@torch.no_grad()
def test_row_6_a_conversation_continued_from_its_cache_has_the_logits_of_the_whole(
    family: str, method: str, encoder: str
) -> None:
    model = wrapped(family, method, encoder)
    whole = model(torch.tensor([LONG])).logits[0]
    first = model(torch.tensor([LONG[:3]]), use_cache=True)
    second = model(torch.tensor([LONG[3:5]]), past_key_values=first.past_key_values, use_cache=True)
    third = model(torch.tensor([LONG[5:]]), past_key_values=second.past_key_values, use_cache=True)
    found = torch.cat([first.logits[0], second.logits[0], third.logits[0]])
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=0)


@torch.no_grad()
def test_row_6_a_continued_conversation_does_not_depend_on_padding() -> None:
    model = wrapped("llama")
    ids, mask = laid_out([LONG[:4], SHORT], "left")
    begun = model(ids, attention_mask=mask.long(), use_cache=True)
    more = torch.tensor([[7, 8], [7, 8]])
    full_mask = torch.cat([mask.long(), torch.ones_like(more)], dim=1)
    found = model(more, attention_mask=full_mask, past_key_values=begun.past_key_values, use_cache=True).logits[1]
    alone = model(torch.tensor([[*SHORT, 7, 8]])).logits[0, -2:]
    torch.testing.assert_close(found, alone, atol=1e-4, rtol=0)


def test_row_6_a_cache_without_the_prompt_is_rejected() -> None:
    with pytest.raises(softprompt.SoftPromptError, match="does not contain the prompt"):
        wrapped("llama")(torch.tensor([LONG]), past_key_values=DynamicCache())
