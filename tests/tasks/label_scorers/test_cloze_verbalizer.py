"""Labels scored at the masks of a masked model."""

from __future__ import annotations

import pytest
import torch

from softprompt.data import Example
from softprompt.errors import TaskError
from softprompt.model import MaskedModel, Payload
from softprompt.tasks import ClassificationTask
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.label_scorers.cloze_verbalizer import ClozeVerbalizer
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import MASKED_FAMILIES, shared_model

TEXT = Example({"text": "the film was great"})


@torch.no_grad()
def read(objective: ClassificationObjective, payload: Payload | None, *examples: Example) -> torch.Tensor:
    batch = objective.collate([objective.encode_unlabeled(example) for example in examples], payload)
    return objective.compute_log_probs(objective.forward_batch(batch, payload), batch)


@pytest.mark.parametrize("family", MASKED_FAMILIES)
def test_labels_of_one_token_are_scored_by_a_softmax_at_the_mask(family: str) -> None:
    model = shared_model(family)
    task = ClassificationTask(labels=("good", "bad"), template="{text} so [MASK] it was")
    found = read(task.build_objective(model, 60), None, TEXT)[0]
    ids = model.tokenizer("the film was great so[MASK] it was").input_ids
    with torch.no_grad():
        logits = model.network(torch.tensor([ids])).logits[0, ids.index(model.tokenizer.mask_token_id)]
    words = [model.prompt_tokenizer.tokenize(" good"), model.prompt_tokenizer.tokenize(" bad")]
    assert all(len(word) == 1 for word in words)
    expected = logits[torch.tensor([word[0] for word in words])].log_softmax(dim=0)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", MASKED_FAMILIES)
def test_labels_of_several_tokens_are_scored_by_the_mean_over_their_masks(family: str) -> None:
    model = shared_model(family)
    task = ClassificationTask(labels=("good", "bad"), words={"bad": "great fun"}, template="{text} so [MASK] .")
    found = read(task.build_objective(model, 60), None, TEXT)[0]
    scores = []
    for word in (" good", " great fun"):
        tokens = model.prompt_tokenizer.tokenize(word)
        ids = model.tokenizer("the film was great so" + "[MASK]" * len(tokens) + " .").input_ids
        at = ids.index(model.tokenizer.mask_token_id)
        with torch.no_grad():
            logits = model.network(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        scores.append(torch.stack([logits[at + i, token] for i, token in enumerate(tokens)]).mean())
    assert len(model.prompt_tokenizer.tokenize(" great fun")) == 2
    torch.testing.assert_close(found, torch.stack(scores).log_softmax(dim=0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("payload", ["embeddings", "prefix"])
def test_outputs_of_a_batch_of_different_lengths_equal_those_of_single_examples(payload: str) -> None:
    model = shared_model("roberta")
    made = random_embeddings(model, 3, 0) if payload == "embeddings" else random_prefix(model, 3, 0)
    task = ClassificationTask(labels=("good", "bad"), words={"bad": "a bore"}, template="{text} so [MASK] .")
    objective = task.build_objective(model, 50)
    texts = [Example({"text": text}) for text in ("fun", "the plot was a bore and its ending awful", "the cast")]
    together = read(objective, made, *texts)
    for row, text in enumerate(texts):
        torch.testing.assert_close(together[row], read(objective, made, text)[0], atol=1e-4, rtol=0)


def test_mask_token_in_a_text_is_ordinary_text() -> None:
    model = shared_model("bert")
    assert isinstance(model, MaskedModel)
    objective = ClassificationTask(labels=("good", "bad"), template="{text} so [MASK] .").build_objective(model, 60)
    row = objective.encode_unlabeled(Example({"text": "[MASK] is a word here, and [SEP] too"}))
    assert model.prompt_tokenizer.mask_token_id not in [*row.prompt_ids, *row.suffix_ids]
    assert [*row.prompt_ids, *row.suffix_ids].count(1) == 1


@pytest.mark.parametrize(
    ("family", "template", "match"),
    [
        ("bert", "{text} so", r"has no \[MASK\]"),
        ("llama", "{text} so [MASK]", r"cannot fill \[MASK\]"),
        ("bert", "{text} [MASK] or [MASK]", "several"),
    ],
)
def test_template_with_missing_or_unsupported_masks_is_rejected(family: str, template: str, match: str) -> None:
    with pytest.raises(TaskError, match=match):
        ClassificationTask(labels=("good", "bad"), template=template).build_objective(shared_model(family), 60)


@pytest.mark.parametrize(("words", "match"), [([[5], [5]], "labels 1 and 2"), ([[5], []], "no tokens")])
def test_labels_with_the_same_or_no_tokens_are_rejected(words: list[list[int]], match: str) -> None:
    with pytest.raises(TaskError, match=match):
        ClozeVerbalizer(words, 3)


def test_the_label_probabilities_sum_to_one() -> None:
    objective = ClassificationTask(
        labels=("good", "bad", "fun"), words={"bad": "a bore"}, template="{text} [MASK]"
    ).build_objective(shared_model("albert"), 60)
    assert float(read(objective, None, TEXT).exp().sum()) == pytest.approx(1.0, abs=1e-5)
