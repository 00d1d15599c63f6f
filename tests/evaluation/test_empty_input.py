"""Empty inputs: no prompt, no example, no text. Meaningful ones work, and the others are rejected with a message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from softprompt.data import Example
from softprompt.errors import DataError, SettingError
from softprompt.evaluation import SamplingParams, classify, compute_metrics, evaluate, generate_texts, tag
from softprompt.evaluation.ensemble import PromptEnsemble
from softprompt.evaluation.nearest_tokens import find_nearest_tokens
from softprompt.evaluation.prompt_similarity import compute_prompt_similarity
from softprompt.evaluation.text_generation import decode_steps
from softprompt.model import FrozenModel, PromptEmbeddings
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, GenerationTask, LinearHead, Task, TokenClassificationTask
from tests.tiny import shared_model

CLASSIFICATION = ClassificationTask(labels=("good", "bad"))
GENERATION = GenerationTask()
TAGGING = TokenClassificationTask(labels=("O", "X"))


@pytest.fixture
def base() -> FrozenModel:
    return shared_model("llama")


def build_prompt(base: FrozenModel, task: Task) -> SavedPrompt:
    ids = base.prompt_tokenizer.tokenize("the film was great fun")
    head = LinearHead(2, base.shape.hidden_size) if isinstance(task, TokenClassificationTask) else None
    tensor = base.embed_tokens(torch.tensor([ids]))[0].detach()
    return SavedPrompt.from_payload(
        base, PromptEmbeddings(tensor), task, method={"name": "prompt"}, trained_parameters=1, head=head
    )


@pytest.mark.parametrize("task", [CLASSIFICATION, GENERATION, TAGGING], ids=lambda task: task.kind)
@pytest.mark.parametrize("is_ensemble", [False, True])
def test_evaluating_no_examples_is_rejected(base: FrozenModel, task: Task, is_ensemble: bool) -> None:
    prompt = build_prompt(base, task)
    with pytest.raises(DataError, match="no examples to evaluate on"):
        evaluate(base, [prompt, prompt] if is_ensemble else prompt, [])


def test_classifying_no_texts_returns_no_predictions(base: FrozenModel) -> None:
    assert classify(base, build_prompt(base, CLASSIFICATION), []) == []
    assert PromptEnsemble.from_prompts(base, [build_prompt(base, CLASSIFICATION)]).compute_log_probabilities(
        []
    ).shape == (0, 2)


def test_a_single_string_is_classified_as_one_text(base: FrozenModel) -> None:
    prompt = build_prompt(base, CLASSIFICATION)
    assert classify(base, prompt, "a bore") == classify(base, prompt, ["a bore"])


@pytest.mark.parametrize(
    "call",
    [
        lambda base: classify(base, [], ["a bore"]),
        lambda base: evaluate(base, [], [Example({"text": "a bore", "label": "bad"})]),
        lambda base: PromptEnsemble.from_prompts(base, []),
    ],
)
def test_inference_without_prompts_is_rejected(base: FrozenModel, call: Callable[[FrozenModel], Any]) -> None:
    with pytest.raises(SettingError, match="no prompt to classify with"):
        call(base)


def test_generation_without_examples_returns_nothing_and_metrics_are_rejected(base: FrozenModel) -> None:
    objective = GENERATION.build_objective(base, 100)
    assert generate_texts(objective.model, [], [], SamplingParams()) == []
    assert list(decode_steps(objective.model, [], [], [])) == []
    with pytest.raises(DataError, match="no examples to compute metrics on"):
        compute_metrics(objective, None, [])


def test_no_words_to_tag_and_no_prompts_to_compare_are_rejected(base: FrozenModel) -> None:
    for words in ([], "", "  "):
        with pytest.raises(SettingError, match="no words to tag"):
            tag(base, build_prompt(base, TAGGING), words)
    with pytest.raises(SettingError, match="at least two prompts"):
        compute_prompt_similarity([])


@pytest.mark.parametrize("count", [0, -1, 10**6])
def test_invalid_numbers_of_nearest_tokens_are_rejected(base: FrozenModel, count: int) -> None:
    with pytest.raises(SettingError, match=f"`count={count}`: choose 1 to"):
        find_nearest_tokens(base, build_prompt(base, CLASSIFICATION), count)
