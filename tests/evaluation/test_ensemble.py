"""Ensembles combine the predictions that each prompt makes alone."""

from __future__ import annotations

import pytest
import torch

import softprompt
from softprompt.data import Example
from softprompt.errors import BaseModelMismatch, SettingError, TaskError
from softprompt.evaluation.ensemble import PromptEnsemble
from softprompt.model import FrozenModel, Payload
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, GenerationTask, LinearHead, Task
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import shared_model, tiny_model

TEXTS = ["the film was great", "a bore", "its ending and the plot and the cast were lovely", "fun"]
TASK = ClassificationTask(labels=("good", "bad"), words={"bad": "a bore"})


def build_prompt(
    model: FrozenModel, payload: Payload, task: Task = TASK, head: LinearHead | None = None
) -> SavedPrompt:
    return SavedPrompt.from_payload(model, payload, task, method={"name": "test"}, trained_parameters=1, head=head)


def build_prompts(model: FrozenModel) -> list[SavedPrompt]:
    """Build prompts of different lengths and payloads."""
    return [
        build_prompt(model, random_embeddings(model, 2, 0)),
        build_prompt(model, random_prefix(model, 5, 1)),
        build_prompt(model, random_prefix(model, 3, 2)),
    ]


def predict_probabilities(
    model: FrozenModel, prompt: SavedPrompt | list[SavedPrompt], combine: str = "mean"
) -> torch.Tensor:
    predictions = softprompt.classify(model, prompt, TEXTS, combine=combine)
    return torch.tensor([list(prediction.probabilities.values()) for prediction in predictions])


def test_mean_averages_the_probabilities_of_each_prompt() -> None:
    model = shared_model("llama")
    prompts = build_prompts(model)
    separate = torch.stack([predict_probabilities(model, prompt) for prompt in prompts])
    torch.testing.assert_close(predict_probabilities(model, prompts), separate.mean(dim=0), atol=1e-4, rtol=0)


def test_vote_returns_the_share_of_prompts_that_predict_each_label() -> None:
    model = shared_model("llama")
    prompts = build_prompts(model)
    votes = torch.stack([predict_probabilities(model, prompt).argmax(dim=1) for prompt in prompts])
    share = torch.stack([(votes == label).float().mean(dim=0) for label in range(2)], dim=1)
    torch.testing.assert_close(predict_probabilities(model, prompts, "vote"), share, atol=1e-4, rtol=0)


def test_each_head_reads_its_own_prompt() -> None:
    model = shared_model("gpt2")
    prompts = []
    for seed in (0, 1):
        head = LinearHead(2, model.shape.hidden_size)
        torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(seed))
        prompts.append(build_prompt(model, random_prefix(model, 3, seed), head=head))
    separate = torch.stack([predict_probabilities(model, prompt) for prompt in prompts])
    torch.testing.assert_close(predict_probabilities(model, prompts), separate.mean(dim=0), atol=1e-4, rtol=0)


def test_evaluate_measures_the_combined_predictions_of_an_ensemble() -> None:
    model = shared_model("llama")
    prompts = build_prompts(model)
    examples = [Example({"text": text, "label": "good"}) for text in TEXTS]
    metrics = softprompt.evaluate(model, prompts, examples)
    share = (predict_probabilities(model, prompts).argmax(dim=1) == 0).double().mean()
    assert metrics["accuracy"] == pytest.approx(float(share))
    assert set(metrics["hard_prompt"]) >= {"accuracy", "loss"}


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_batch_size_does_not_change_probabilities(batch_size: int) -> None:
    model = shared_model("bloom")
    ensemble = PromptEnsemble.from_prompts(model, build_prompts(model))
    examples = [ensemble.objective.encode_unlabeled(Example({"text": text})) for text in TEXTS]
    torch.testing.assert_close(
        ensemble.compute_log_probabilities(examples, batch_size),
        ensemble.compute_log_probabilities(examples),
        atol=1e-4,
        rtol=0,
    )


def test_incompatible_prompts_are_rejected() -> None:
    model = shared_model("llama")
    one = build_prompt(model, random_prefix(model, 2, 0))
    other = build_prompt(model, random_prefix(model, 2, 0), ClassificationTask(labels=("yes", "no")))
    with pytest.raises(TaskError, match="same template, labels"):
        softprompt.classify(model, [one, other], TEXTS)
    with pytest.raises(TaskError, match="does not classify texts"):
        softprompt.classify(model, build_prompt(model, random_prefix(model, 2, 0), GenerationTask()), TEXTS)
    with pytest.raises(SettingError, match="unknown `combine='sum'`"):
        softprompt.classify(model, [one, one], TEXTS, combine="sum")
    with pytest.raises(BaseModelMismatch):
        softprompt.classify(tiny_model("llama", seed=1), [one, one], TEXTS)
