"""Several prompts answer together as each would by itself."""

from __future__ import annotations

import pytest
import torch

import softprompt
from softprompt.data import Example
from softprompt.errors import SettingError, TaskError, WrongBaseModel
from softprompt.evaluation.ensemble import Ensemble
from softprompt.model import FrozenModel, Payload
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, GenerationTask, LinearHead, Task
from tests.strategies import random_embeddings, random_prefix
from tests.tiny import shared_model, tiny_model

TEXTS = ["the film was great", "a bore", "its ending and the plot and the cast were lovely", "fun"]
TASK = ClassificationTask(labels=("good", "bad"), words={"bad": "a bore"})


def saved(model: FrozenModel, payload: Payload, task: Task = TASK, head: LinearHead | None = None) -> SavedPrompt:
    return SavedPrompt.make(model, payload, task, method={"name": "test"}, trained_parameters=1, head=head)


def three(model: FrozenModel) -> list[SavedPrompt]:
    """Prompts of several lengths and kinds."""
    return [
        saved(model, random_embeddings(model, 2, 0)),
        saved(model, random_prefix(model, 5, 1)),
        saved(model, random_prefix(model, 3, 2)),
    ]


def probabilities(model: FrozenModel, prompt: SavedPrompt | list[SavedPrompt], by: str = "mean") -> torch.Tensor:
    found = softprompt.classify(model, prompt, TEXTS, by=by)
    return torch.tensor([list(each.probabilities.values()) for each in found])


def test_the_mean_is_the_mean_of_each_alone() -> None:
    model = shared_model("llama")
    prompts = three(model)
    alone = torch.stack([probabilities(model, prompt) for prompt in prompts])
    torch.testing.assert_close(probabilities(model, prompts), alone.mean(dim=0), atol=1e-4, rtol=0)


def test_the_vote_is_the_share_of_prompts() -> None:
    model = shared_model("llama")
    prompts = three(model)
    votes = torch.stack([probabilities(model, p).argmax(dim=1) for p in prompts])
    share = torch.stack([(votes == label).float().mean(dim=0) for label in range(2)], dim=1)
    torch.testing.assert_close(probabilities(model, prompts, "vote"), share, atol=1e-4, rtol=0)


def test_heads_read_their_own_prompts() -> None:
    model = shared_model("gpt2")
    prompts = []
    for seed in (0, 1):
        head = LinearHead(2, model.shape.hidden_size)
        torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(seed))
        prompts.append(saved(model, random_prefix(model, 3, seed), head=head))
    alone = torch.stack([probabilities(model, prompt) for prompt in prompts])
    torch.testing.assert_close(probabilities(model, prompts), alone.mean(dim=0), atol=1e-4, rtol=0)


def test_evaluation_measures_them_together() -> None:
    model = shared_model("llama")
    prompts = three(model)
    examples = [Example({"text": text, "label": "good"}) for text in TEXTS]
    figures = softprompt.evaluate(model, prompts, examples)
    share = (probabilities(model, prompts).argmax(dim=1) == 0).double().mean()
    assert figures["accuracy"] == pytest.approx(float(share))
    assert set(figures["hard_prompt"]) >= {"accuracy", "loss"}


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    model = shared_model("bloom")
    ensemble = Ensemble.of(model, three(model))
    rows = [ensemble.objective.encode_text(Example({"text": text})) for text in TEXTS]
    torch.testing.assert_close(ensemble.outputs(rows, batch_size), ensemble.outputs(rows), atol=1e-4, rtol=0)


def test_what_cannot_answer_together() -> None:
    model = shared_model("llama")
    one = saved(model, random_prefix(model, 2, 0))
    other = saved(model, random_prefix(model, 2, 0), ClassificationTask(labels=("yes", "no")))
    with pytest.raises(TaskError, match="same template, labels"):
        softprompt.classify(model, [one, other], TEXTS)
    with pytest.raises(TaskError, match="knows no labels"):
        softprompt.classify(model, saved(model, random_prefix(model, 2, 0), GenerationTask()), TEXTS)
    with pytest.raises(SettingError, match="unknown way to combine prompts 'sum'"):
        softprompt.classify(model, [one, one], TEXTS, by="sum")
    with pytest.raises(WrongBaseModel):
        softprompt.classify(tiny_model("llama", seed=1), [one, one], TEXTS)
