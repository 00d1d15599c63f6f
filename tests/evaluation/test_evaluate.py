"""Evaluation of a prompt and the hard prompt."""

from __future__ import annotations

import logging

import pytest
import torch

from softprompt.data import Example
from softprompt.evaluation import evaluate
from softprompt.model import PromptEmbeddings
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, ExtractiveQATask, LinearHead, Task, TokenClassificationTask
from tests.tiny import shared_model

TASKS: tuple[tuple[str, Task, Example], ...] = (
    ("bert", ClassificationTask(labels=("bad", "good")), Example({"text": "a bore", "label": "bad"})),
    ("llama", TokenClassificationTask(labels=("O", "X")), Example({"tokens": ["a", "bore"], "tags": ["O", "X"]})),
    ("llama", ExtractiveQATask(), Example({"question": "what", "context": "a bore", "answer": "bore"})),
)


@pytest.mark.parametrize(("family", "task", "example"), TASKS, ids=lambda each: getattr(each, "kind", None))
def test_a_prompt_with_a_head_has_no_hard_prompt_and_no_warning(
    family: str, task: Task, example: Example, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("softprompt").propagate = True
    base = shared_model(family)
    payload = PromptEmbeddings(
        base.embed_tokens(torch.tensor([base.prompt_tokenizer.tokenize("the film")]))[0].detach()
    )
    head = LinearHead(2, base.shape.hidden_size)
    prompt = SavedPrompt.from_payload(base, payload, task, method={"name": "prompt"}, trained_parameters=1, head=head)
    assert evaluate(base, prompt, [example])["hard_prompt"] is None
    assert caplog.records == []
