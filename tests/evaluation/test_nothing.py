"""Nothing given: no prompt, no example, no text. What has a meaning works, and the rest says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from softprompt.data import Example
from softprompt.errors import DataError, SettingError
from softprompt.evaluation import Sampling, classify, evaluate, generate, measure, tag
from softprompt.evaluation.ensemble import Ensemble
from softprompt.evaluation.generating import steps
from softprompt.evaluation.neighbours import nearest_tokens
from softprompt.evaluation.similarity import similarity
from softprompt.model import Embeddings, FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, GenerationTask, LinearHead, TaggingTask, Task
from tests.tiny import shared_model

CHOOSING = ClassificationTask(labels=("good", "bad"))
WRITING = GenerationTask()
TAGGING = TaggingTask(labels=("O", "X"))


@pytest.fixture
def base() -> FrozenModel:
    return shared_model("llama")


def saved(base: FrozenModel, task: Task) -> SavedPrompt:
    ids = base.tokenize("the film was great fun")
    head = LinearHead(2, base.shape.hidden_size) if isinstance(task, TaggingTask) else None
    tensor = base.embed(torch.tensor([ids]))[0].detach()
    return SavedPrompt.make(base, Embeddings(tensor), task, method={"name": "prompt"}, trained_parameters=1, head=head)


@pytest.mark.parametrize("task", [CHOOSING, WRITING, TAGGING], ids=lambda task: task.kind)
@pytest.mark.parametrize("together", [False, True])
def test_no_examples_to_evaluate_on(base: FrozenModel, task: Task, together: bool) -> None:
    prompt = saved(base, task)
    with pytest.raises(DataError, match="no examples to evaluate on"):
        evaluate(base, [prompt, prompt] if together else prompt, [])


def test_no_texts_to_classify_have_no_labels(base: FrozenModel) -> None:
    assert classify(base, saved(base, CHOOSING), []) == []
    assert Ensemble.of(base, [saved(base, CHOOSING)]).outputs([]).shape == (0, 2)


def test_one_text_is_a_text_and_not_its_characters(base: FrozenModel) -> None:
    prompt = saved(base, CHOOSING)
    assert classify(base, prompt, "a bore") == classify(base, prompt, ["a bore"])


@pytest.mark.parametrize(
    "ask",
    [
        lambda base: classify(base, [], ["a bore"]),
        lambda base: evaluate(base, [], [Example({"text": "a bore", "label": "bad"})]),
        lambda base: Ensemble.of(base, []),
    ],
)
def test_no_prompt_to_answer_with(base: FrozenModel, ask: Callable[[FrozenModel], Any]) -> None:
    with pytest.raises(SettingError, match="no prompt to answer with"):
        ask(base)


def test_no_rows(base: FrozenModel) -> None:
    objective = WRITING.bind(base, 100)
    assert generate(objective.model, [], [], Sampling()) == []
    assert list(steps(objective.model, [], [], Sampling())) == []
    with pytest.raises(DataError, match="no examples to measure on"):
        measure(objective, None, [])


def test_no_words_and_no_prompts(base: FrozenModel) -> None:
    for words in ([], "", "  "):
        with pytest.raises(SettingError, match="no word to tag"):
            tag(base, saved(base, TAGGING), words)
    with pytest.raises(SettingError, match="at least two prompts"):
        similarity([])


@pytest.mark.parametrize("count", [0, -1, 10**6])
def test_no_such_number_of_nearest_tokens(base: FrozenModel, count: int) -> None:
    with pytest.raises(SettingError, match=f"`count` {count}: choose 1 to"):
        nearest_tokens(base, saved(base, CHOOSING), count)
